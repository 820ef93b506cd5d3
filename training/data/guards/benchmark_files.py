"""Hash lists from the files of benchmarks that a user has: text, code, JSON and JSON lines, also gzipped."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from training.data.guards.contamination import WORDS, HashList, hashes

_LEAST = 5
"""Words that a text of a JSON file must have to be one of the benchmark's, and not a name or a number; our choice."""


def hash_list(name: str, paths: Iterable[Path], n: int = WORDS, one_in: int = 1) -> HashList:
    """The list of a benchmark that lies in these files; `contamination.write` keeps it.

    Raises:
        UserError: a file cannot be read, or holds no text that is long enough.
    """
    found = hashes((text for path in paths for text in texts_in(path)), n, one_in)
    if not len(found):
        raise UserError(f"the files of {name} hold no {n} words in a row; name the files with its problems")
    return HashList(name, n, one_in, found)


def texts_in(path: Path) -> Iterator[str]:
    """The texts of a file: those within its JSON, else all of it.

    Raises:
        UserError: it cannot be read.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    try:
        values = [json.loads(text)] if kind == "json" else [*map(json.loads, filter(str.strip, text.splitlines()))]
    except ValueError:
        yield text
        return
    yield from (each for value in values for each in _strings(value) if len(each.split()) >= _LEAST)


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from _strings(each)
        case list():
            for each in value:
                yield from _strings(each)
