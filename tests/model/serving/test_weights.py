"""The cache of converted weights, with small programs in the place of a Python that has torch."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model.serving.starting.weights import PROGRAM, WeightsError, safetensors_of


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    path.write_bytes(b"GGUF")
    return path


def python(folder: Path, body: str) -> str:
    """A program that is called like a Python: $2 is the GGUF, $3 where the weights go."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\ncat > /dev/null\n{body}\n")
    path.chmod(0o755)
    return str(path)


def convert(folder: Path) -> str:
    return python(folder, f'echo once >> {folder}/calls; mkdir "$3"; sleep 0.2; cp "$2" "$3/model.safetensors"')


def test_weights_are_made_once_whoever_asks(gguf, tmp_path):
    cache = tmp_path / "cache"
    program = convert(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: safetensors_of(gguf, cache, program), range(4)))
    assert found == {cache / hashlib.sha256(b"GGUF").hexdigest()}
    assert (found.pop() / "model.safetensors").read_bytes() == b"GGUF"
    assert (tmp_path / "calls").read_text() == "once\n"


def test_other_bytes_are_other_weights(gguf, tmp_path):
    first = safetensors_of(gguf, tmp_path / "cache", convert(tmp_path))
    gguf.write_bytes(b"GGUF of another")
    second = safetensors_of(gguf, tmp_path / "cache", convert(tmp_path))
    assert (first / "model.safetensors").read_bytes() == b"GGUF"
    assert (second / "model.safetensors").read_bytes() == b"GGUF of another"


def test_what_is_half_written_is_never_seen_and_goes_away(gguf, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(WeightsError, match="signal 9"):
        safetensors_of(gguf, cache, python(tmp_path, 'mkdir "$3"; echo half > "$3/model.safetensors"; kill -9 $$'))
    assert [path.name for path in cache.iterdir()] == [".lock"]
    (cache / ".part-of-a-killed-one" / "weights").mkdir(parents=True)
    safetensors_of(gguf, cache, convert(tmp_path))
    assert not list(cache.glob(".part-*"))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("echo \"ModuleNotFoundError: No module named 'gguf'\" >&2; exit 1", r"has no gguf; run .* -m pip install"),
        ("echo 'OSError: No space left on device' >&2; exit 1", "the disk is full; free some space"),
        ("echo Traceback >&2; echo 'ValueError: no such architecture' >&2; exit 1", "no such architecture$"),
        ("exit 3", "exit code 3"),
    ],
)
def test_what_went_wrong_is_one_sentence(gguf, tmp_path, body, sentence):
    with pytest.raises(WeightsError, match=sentence) as caught:
        safetensors_of(gguf, tmp_path / "cache", python(tmp_path, body))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("cannot convert small.gguf: ")


def test_a_file_that_is_not_there_and_a_python_that_is_not_are_named(gguf, tmp_path):
    with pytest.raises(WeightsError, match=r"No such file or directory .*none.gguf"):
        safetensors_of(tmp_path / "none.gguf", tmp_path / "cache", sys.executable)
    with pytest.raises(WeightsError, match=r"No such file or directory .*no-python"):
        safetensors_of(gguf, tmp_path / "cache", str(tmp_path / "no-python"))


def test_the_program_that_converts_needs_nothing_of_ours():
    """It runs under a Python that has torch, and need not have us."""
    source = PROGRAM.read_text("utf-8")
    assert "from model" not in source
    done = subprocess.run([sys.executable, "-", "a"], input=source, capture_output=True, text=True, check=False)
    assert "IndexError" in done.stderr, "it begins with the arguments, and imports torch only then"
