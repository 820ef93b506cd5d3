"""Bytes of a text file and back, exactly: encoding, byte order mark, line endings."""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import dataclass
from typing import Literal

from assistant.workspace.errors import WorkspaceError

Newline = Literal["\n", "\r\n"]
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\r\f\x1b\x08")
_SAMPLE = 8192


@dataclass(frozen=True, slots=True)
class TextFile:
    """A text file as it was read. `digest` is the SHA-256 of its bytes, `mode` its permission bits.

    Where every line ends in CR LF, `newline` says so and `text` has plain newlines; a mixture stays as it is.
    """

    text: str
    encoding: str = "utf-8"
    newline: Newline = "\n"
    bom: bytes = b""
    mode: int = 0o644
    digest: str | None = None

    def encode(self, text: str) -> bytes:
        """`text` as bytes in the form of this file. Raises `WorkspaceError` where its encoding lacks a character."""
        try:
            return self.bom + text.replace("\n", self.newline).encode(self.encoding)
        except UnicodeEncodeError as error:
            character = f"U+{ord(error.object[error.start]):04X}"
            raise WorkspaceError(
                f"The file is {self.encoding}, which cannot hold {character}; leave it out."
            ) from error


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def decode(data: bytes, mode: int, name: str) -> TextFile:
    """Text by its byte order mark, else as UTF-8, else as Latin-1. Raises `WorkspaceError` if `data` is binary."""
    bom, encoding = next((mark for mark in _MARKS if data.startswith(mark[0])), (b"", "utf-8"))
    body = data[len(bom) :]
    if is_binary(data):
        raise WorkspaceError(f"{name} is not a text file, so it cannot be read or edited as one.")
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise WorkspaceError(f"{name} begins like {encoding} but is not; convert it to UTF-8 first.") from error
        bom, encoding, text = b"", "latin-1", data.decode("latin-1")
    newline: Newline = "\r\n" if 0 < text.count("\n") == text.count("\r\n") else "\n"
    return TextFile(
        text.replace("\r\n", "\n") if newline == "\r\n" else text, encoding, newline, bom, mode, digest(data)
    )


def is_binary(data: bytes) -> bool:
    """Whether `data` holds a NUL, or more than one control character in fifty, without a UTF-16 mark."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    sample = data[:_SAMPLE]
    return b"\0" in data or len(sample) - len(sample.translate(None, _CONTROL)) > len(sample) // 50
