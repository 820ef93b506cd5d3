"""The weights of a GGUF as safetensors, which vLLM and transformers serve without plugins, kept in a cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from model.engine import EngineError
from model.pull import models_directory

PROGRAM = Path(__file__).with_name("gguf_to_safetensors.py")
NEEDED = ("torch", "transformers", "gguf", "accelerate")
"""What the Python that converts must have."""
_MISSING = re.compile(r"^ModuleNotFoundError: No module named '([\w.]+)'", re.MULTILINE)
_PART = ".part-"
_TOLD = 300


class WeightsError(EngineError):
    """Weights cannot be converted; the message is one sentence for the user."""


def weights_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where converted weights are kept: beside the models that were fetched."""
    return models_directory(environ) / "safetensors"


def safetensors_of(gguf: Path, folder: Path, python: str) -> Path:
    """A folder below `folder` with the weights of `gguf` in bf16 as safetensors, and its tokenizer.

    It is made once for each content of the file, by `python`, which must have `NEEDED`; that takes twice the model's
    size in memory. Several may ask at once: one converts, and what is half written is never seen.

    Raises:
        WeightsError: there is no such file, the Python lacks something, or the disk or the file does not allow it.
    """
    try:
        target = folder / _digest(gguf)
        if not target.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder):
                if not target.is_dir():
                    _convert(gguf, target, python)
    except OSError as error:
        where = error.filename or folder
        raise WeightsError(f"cannot convert {gguf.name}: {error.strerror or error} ({where})") from error
    return target


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One conversion at a time; what an earlier one left behind when it was killed goes away."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f"{_PART}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _convert(gguf: Path, target: Path, python: str) -> None:
    with tempfile.TemporaryDirectory(prefix=_PART, dir=target.parent) as part:
        out = Path(part) / "weights"
        environ = {**os.environ, "HF_HUB_OFFLINE": "1"}
        # From standard input, since the folder of a program is searched first: ours has names that others import.
        done = subprocess.run(
            [python, "-", str(gguf.resolve()), str(out)], input=PROGRAM.read_text("utf-8"), cwd=part, env=environ,
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        if done.returncode:
            raise WeightsError(_sentence(gguf, python, done.returncode, done.stderr))
        out.rename(target)


def _sentence(gguf: Path, python: str, code: int, said: str) -> str:
    begin = f"cannot convert {gguf.name}"
    if missing := _MISSING.search(said):
        return f"{begin}: {python} has no {missing[1]}; run {python} -m pip install {' '.join(NEEDED)}"
    if "No space left" in said:
        return f"{begin}: the disk is full; free some space"
    if code < 0:
        return f"{begin}: it was ended by signal {-code}; the machine may be short of memory"
    lines = said.strip().splitlines() or [f"exit code {code}"]
    return f"{begin}: {lines[-1][:_TOLD]}"
