"""`kat train data hashes`: a benchmark that a user has, as a list of hashes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from assistant.errors import Exit, UserError
from training.data.guards.benchmark_files import hash_list
from training.data.guards.contamination import write


def hashes(name: str, files: Sequence[Path], out: Path, words: int, one_in: int) -> int:
    """Write the list of the benchmark that lies in these files."""
    found = hash_list(name, files, words, one_in)
    try:
        write(out, found)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}; name another file with --out") from None
    print(f"{len(found.hashes):,} hashes of {words} words of {name} in {out}; no text of it is in there")
    return Exit.DONE
