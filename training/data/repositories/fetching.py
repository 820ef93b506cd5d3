"""Source distributions from the package index: pinned, checked, unpacked, whole or not at all."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from assistant.errors import UserError
from assistant.safety.confinement.private import private_folder

_PINNED = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*==\s*([A-Za-z0-9.+!_-]+)\s*$")
_HASHED = re.compile(r"(?:--hash=)?sha256:([0-9a-fA-F]{64})")
_SECONDS = 300.0
_LARGEST = 500_000_000
_MOST = 50_000
"""Bytes and files that a source distribution may unpack to; our choice."""


def fetch(requirement: str, folder: Path) -> Path:
    """The folder `NAME-VERSION` in `folder` with the files of a source distribution, fetched if it is not there yet.

    `requirement` is ``name==version sha256:…``; without a hash the file is taken as it comes, and its hash can be read
    in `NAME-VERSION.sha256` beside the folder. With one, nothing of a file that is not meant is run; pip asks one
    that is for its metadata, by the build program that it names. Files keep their times.

    Raises:
        UserError: it is not pinned, cannot be had, is another file, or does not unpack safely.
    """
    name, version, wanted = _parsed(requirement)
    place = folder.resolve() / f"{name}-{version}"
    if place.is_dir() and (not wanted or _noted(place) == wanted):
        return place
    folder.mkdir(parents=True, exist_ok=True)
    with private_folder(folder) as inside:
        archive = _downloaded(name, f"{name}=={version}", wanted, inside)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if wanted and digest != wanted:
            raise UserError(f"{archive.name} is not the file that is meant: its SHA-256 is {digest}, not {wanted}")
        root = unpacked(archive, inside / "files")
        shutil.rmtree(place, ignore_errors=True)
        place.with_name(f"{place.name}.sha256").write_text(f"{digest}\n", "ascii")
        root.rename(place)
    return place


def _parsed(requirement: str) -> tuple[str, str, str]:
    hashed = _HASHED.search(requirement)
    pinned = _PINNED.match(_HASHED.sub("", requirement))
    if not pinned:
        raise UserError(f"{requirement!r} is not pinned; write it as name==version, and sha256:… behind it")
    return pinned[1], pinned[2], hashed[1].lower() if hashed else ""


def _noted(place: Path) -> str:
    note = place.with_name(f"{place.name}.sha256")
    return note.read_text("ascii").strip() if note.is_file() else ""


def _downloaded(name: str, pinned: str, digest: str, folder: Path) -> Path:
    """The file, by pip."""
    wanted, place = folder / "wanted.txt", folder / "download"
    wanted.write_text(f"{pinned} --hash=sha256:{digest}\n" if digest else f"{pinned}\n", "ascii")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    command = [*pip, "--no-deps", "--no-binary", name, "-d", str(place), "-r", str(wanted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"the source of {pinned} cannot be fetched: pip took more than {_SECONDS:g} seconds") from None
    except OSError as error:
        raise UserError(f"the source of {pinned} cannot be fetched: {error}") from None
    found = sorted(place.glob("*")) if place.is_dir() else []
    if done.returncode or len(found) != 1:
        reason = told_by_pip(done.stderr)
        raise UserError(f"the source of {pinned} cannot be fetched: {reason}")
    return found[0]


def told_by_pip(said: str) -> str:
    """Why pip failed, in a few words, from what it wrote to standard error."""
    if re.search(r"connection broken|Failed to establish a new connection|Name or service not known", said):
        return "the package index cannot be reached; look at the network, or at pip's settings"
    lines = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    return (lines or said.strip().splitlines() or ["pip gives no reason"])[0][:300]


def unpacked(archive: Path, folder: Path) -> Path:
    """The one folder that a source distribution unpacks to, in `folder`; nothing is written elsewhere.

    Raises:
        UserError: it is none, is too large, or would write outside.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, folder)
        else:
            _untar(archive, folder)
        inner = [place for place in folder.iterdir() if place.is_dir()]
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive.name} does not unpack: {error}") from None
    if len(inner) != 1:
        raise UserError(f"{archive.name} is no source distribution: it holds {len(inner)} folders, not one")
    return inner[0]


def _untar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as files:
        members = files.getmembers()
        _bounded(archive, len(members), sum(member.size for member in members))
        files.extractall(folder, filter="data")


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        entries = files.infolist()
        _bounded(archive, len(entries), sum(entry.file_size for entry in entries))
        for entry in entries:
            path = PurePosixPath(entry.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in entry.filename:
                raise UserError(f"{archive.name} would write outside its folder: {entry.filename}")
        files.extractall(folder)  # noqa: S202 - each name was looked at


def _bounded(archive: Path, count: int, size: int) -> None:
    if count > _MOST or size > _LARGEST:
        raise UserError(f"{archive.name} is too large: {count} files, {size} bytes")
