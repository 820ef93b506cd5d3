"""What the commands of `kat train` need besides `kat` itself, said in one sentence where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from assistant.errors import UserError

_EXTRAS = {
    "pyarrow": "train",
    "numpy": "train",
    "fsspec": "train",
    "datasketch": "train",
    "identify": "train",
    "libcst": "train",
    **dict.fromkeys(("accelerate", "datasets", "gguf", "peft", "safetensors", "torch", "transformers", "trl"), "train"),
    "ray": "ray",
}
"""Packages that only an extra brings."""


@contextmanager
def installed() -> Iterator[None]:
    """Turns the failed import of a package of an extra into a sentence.

    Raises:
        UserError: a package is missing; the message names the command that brings it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(missing(error)) from None


def missing(error: ModuleNotFoundError) -> str:
    """The sentence. Raises the error itself if no extra brings what it misses."""
    package = (error.name or "").partition(".")[0]
    if package not in _EXTRAS:
        raise error
    return f"this needs {package}, which is not installed: pip install 'kat-pilot[{_EXTRAS[package]}]'"
