"""An environment of its own for each list of what a source's tests need, made once and shared by all who want it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from assistant.errors import UserError
from training.data.repositories.fetching import told_by_pip
from training.data.repositories.requirements import Needs, needs

_SECONDS = 900.0
"""In which an environment must be made; our choice."""
_WHOLE = "kat-whole.txt"
"""Stands in an environment that is whole; written last."""


class EnvironmentRefused(UserError):
    """An environment cannot be made; one sentence that gives the reason."""


def environment(root: Path, cache: Path, *, watch: Callable[[str], None] = lambda _: None) -> Path:
    """The interpreter of an environment with what the tests of the source in `root` need, and with pytest.

    There is one for each content of the lock files, or else of the lists of dependencies (`requirements.needs`). It
    lies in `cache`, is made once, by whoever wants it first, and is there whole or not at all. Only wheels are
    installed, so nothing of a package runs meanwhile. The source itself is not installed: its tests see its files, and
    what its metadata say.

    Raises:
        EnvironmentRefused: pip cannot install what is needed.
    """
    wanted = needs(root)
    folder = cache.resolve() / "environments" / key(wanted)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_suffix(".lock")):
        if not (folder / _WHOLE).is_file():
            watch(f"making an environment for {root.name}")
            _make(folder, wanted)
    return folder / "bin/python"


def key(wanted: Needs) -> str:
    """The name of the environment with these needs, for this version of Python: a hash."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = "\0".join(
        (version, sys.platform, *wanted.requirements, "", *wanted.pinned, "", wanted.metadata, wanted.points)
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def variables(python: Path | str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment variables under which `python` is the interpreter called so; for a sandbox, and for commands.

    Raises:
        UserError: it is not there any more: another one would give other outcomes.
    """
    if not str(python):
        return dict(environ)
    if not Path(python).is_file():
        raise UserError(f"the environment of {python} is gone; remove what profile wrote, and run that again")
    folder = Path(python).parent
    path = f"{folder}{os.pathsep}{environ.get('PATH', os.defpath)}"
    return {**environ, "PATH": path, "VIRTUAL_ENV": str(folder.parent)}


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """While nobody else has this lock; a program that dies gives it back."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(folder: Path, wanted: Needs) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        venv.create(folder, symlinks=True, with_pip=False)
        _install(folder, wanted)
        _describe(folder, wanted)
        (folder / _WHOLE).write_text("".join(f"{line}\n" for line in wanted.requirements), "utf-8")
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentRefused(f"an environment cannot be made in {folder.parent}: {error}") from None
    finally:
        if not (folder / _WHOLE).is_file():
            shutil.rmtree(folder, ignore_errors=True)


def _install(folder: Path, wanted: Needs) -> None:
    """pip of this interpreter installs into the other: an environment needs none of its own."""
    lists = {"wanted.txt": wanted.requirements, "pinned.txt": wanted.pinned}
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install"]
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--only-binary=:all:", "--no-compile"]
    files = ["-r", str(folder / "wanted.txt"), "-c", str(folder / "pinned.txt")]
    done = subprocess.run(
        [*pip, *options, *files], cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        raise EnvironmentRefused(f"pip cannot install what the tests need: {told_by_pip(done.stderr)}")
    compiled = [str(folder / "bin/python"), "-m", "compileall", "-q", str(folder / "lib")]
    subprocess.run(compiled, capture_output=True, timeout=_SECONDS, check=False)


def _describe(folder: Path, wanted: Needs) -> None:
    """Say of the source what `importlib.metadata` would be asked, as if it were installed."""
    if not wanted.metadata:
        return
    (packages,) = (folder / "lib").glob("python3*/site-packages")
    name = wanted.name.replace("-", "_")
    information = packages / f"{name}-{wanted.version}.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text(wanted.metadata, "utf-8")
    (information / "entry_points.txt").write_text(wanted.points, "utf-8")
    (information / "INSTALLER").write_text("kat\n", "utf-8")
