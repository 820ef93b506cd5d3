"""What exactly a command would touch: the files that its programs are, and the places outside that it writes."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assistant.safety.shell.parsing import Parsed, ShellCommand
from assistant.safety.shell.words import names, unknown

_STREAMS = names("/dev/null /dev/stdout /dev/stderr /dev/tty /dev/zero /dev/full")
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - a sandbox has its own
_CHUNK = 1 << 20
_NETWORK = names("ssh scp sftp mosh telnet ftp nc ncat netcat socat curl wget rsh rlogin")


@dataclass(frozen=True, slots=True)
class Program:
    """A program of a command, or a script it is given: its name, the file it is, and what a file of ours holds.

    `path` is empty for what the shell does itself; `digest` is SHA-256, for files in the repository only.
    """

    name: str
    path: str
    digest: str = ""


def programs(parsed: Parsed, root: Path, search: str) -> tuple[Program, ...]:
    """The programs of a line, and the files of the repository among their words, as they are now.

    `search` is the PATH that the line runs with.
    """
    return tuple(dict.fromkeys(found for command in parsed.commands for found in _of(command, root, search)))


def outside_targets(parsed: Parsed, root: Path, *, contained: bool) -> tuple[str, ...]:
    """What the redirections of a line write outside the repository.

    In a sandbox (`contained`) temporary folders are its own, and a target that is not known cannot lead out.
    """
    bases = tuple(_folders(parsed, root))
    return tuple(dict.fromkeys(found for target in parsed.writes for found in _outside(target, bases, root, contained)))


def replaced_files(parsed: Parsed, root: Path) -> tuple[str, ...]:
    """Files of the repository that a line names to delete or replace them, as they stand in it now."""
    bases = [base for base in _folders(parsed, root) if base is not None]
    named = [
        word for command in parsed.commands for word in (*command.writes, *_replaced(command)) if not unknown(word)
    ]
    places = (Path(os.path.realpath((base / word).parent)) / Path(word).name for word in named for base in bases)
    inside = (place for place in places if place.is_relative_to(root.resolve()) and _is_file(place))
    return tuple(dict.fromkeys(str(place.relative_to(root.resolve())) for place in inside))


def reaches_network(parsed: Parsed) -> bool:
    """Whether a program of the line is there to reach other machines."""
    return any(command.program in _NETWORK for command in parsed.commands)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes; empty where it cannot be read."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except OSError:
        return ""
    return found.hexdigest()


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:
        return False


def _replaced(command: ShellCommand) -> Iterator[str]:
    """The words of common commands that name what they delete or replace."""
    words = [text for text in command.argv[1:] if not text.startswith("-") and not unknown(text)]
    match command.program:
        case "rm" | "unlink":
            yield from words
        case "mv" | "cp" | "install" | "ln":
            yield from words if command.program == "mv" else words[-1:]
            yield from (f"{words[-1]}/{Path(word).name}" for word in words[:-1])
        case "sed" | "perl" if any(text.startswith(("-i", "--in-place")) for text in command.argv[1:]):
            yield from words
        case _:
            pass


def _of(command: ShellCommand, root: Path, search: str) -> Iterator[Program]:
    if not command.argv or unknown(command.argv[0]):
        return
    name = command.argv[0]
    place = str(root / name) if "/" in name else shutil.which(name, path=search) or ""
    yield _program(name, place, root)
    for argument in command.argv[1:]:
        if not unknown(argument) and _is_script(root / argument, root):
            yield _program(argument, str(root / argument), root)


def _program(name: str, place: str, root: Path) -> Program:
    path = os.path.realpath(place) if place else ""
    ours = bool(path) and Path(path).is_relative_to(root.resolve())
    return Program(name, path, digest(Path(path)) if ours and Path(path).is_file() else "")


def _is_script(path: Path, root: Path) -> bool:
    """Whether a word names a file of the repository that something could run."""
    try:
        real = path.resolve()
        return real.is_relative_to(root.resolve()) and real.is_file()
    except (OSError, ValueError):
        return False


def _folders(parsed: Parsed, root: Path) -> Iterator[Path | None]:
    """Where a line may be when it writes; None for a place that is not known."""
    yield root
    for command in parsed.commands:
        if command.program in ("cd", "pushd"):
            places = [word for word in command.argv[1:] if word not in ("-L", "-P", "--")]
            yield root / places[0] if len(places) == 1 and not unknown(places[0]) and places[0] != "-" else None


def _outside(target: str, bases: tuple[Path | None, ...], root: Path, contained: bool) -> Iterator[str]:
    if target in _STREAMS or target.startswith(("/dev/fd/", "/proc/self/fd/")):
        return
    if unknown(target):
        yield from () if contained else ("a place known only when it runs",)
        return
    for base in bases:
        if base is None and not target.startswith("/"):
            yield from () if contained else ("a place known only when it runs",)
            continue
        path = Path(os.path.realpath((base or root) / target))
        inside = path.is_relative_to(root.resolve())
        if not inside and not (contained and any(path.is_relative_to(place) for place in _TEMPORARY)):
            yield str(path)
