"""Words of a command as a shell takes them, one option a line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

PACKAGED_TEMPLATE = "\"$(python -I -c 'import model; print(model.__path__[0])')/dialects/kat.jinja\""
"""KAT's chat template, wherever the package is installed.

Isolated (-I), so that a folder named model in the working directory is not taken for it.
"""


def array(name: str, words: Sequence[str]) -> list[str]:
    """Lines of bash that set an array to exactly these words."""
    return [f"{name}=(", *(f"  {line}" for line in option_lines(words)), ")"]


def option_lines(words: Sequence[str]) -> Iterator[str]:
    """Quoted words, an option and its values on one line, as is the command with what it is about."""
    line: list[str] = []
    for word in words:
        if word.startswith("--") and line:
            yield shlex.join(line)
            line = []
        line.append(word)
    if line:
        yield shlex.join(line)


def exports(environ: Mapping[str, str]) -> list[str]:
    """Lines that set the variables for what is started next."""
    return [f"export {name}={shlex.quote(value)}" for name, value in environ.items()]
