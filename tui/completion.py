"""What the beginning of a command may become."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to type after a slash: `usage` is how, without the slash."""

    usage: str
    help: str

    @property
    def name(self) -> str:
        """The command with its slash."""
        return f"/{self.usage.split()[0]}"

    @property
    def takes_words(self) -> bool:
        """Whether something follows the name."""
        return " " in self.usage


class Completions:
    """The entries that fit what is written, one of them picked. Entries that take nothing away are kept in order."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries: Sequence[Entry] = tuple(entries)
        self.found: Sequence[Entry] = ()
        self.at = 0
        self._text = ""

    def write(self, text: str) -> None:
        """`text` stands in the prompt now."""
        if text == self._text:
            return
        self._text, self.at = text, 0
        self.found = self._fitting(text)

    def dismiss(self) -> bool:
        """Offer nothing until something else is written; False if nothing was offered."""
        offered, self.found = bool(self.found), ()
        return offered

    def move(self, by: int) -> None:
        """Pick another one, around the ends."""
        self.at = (self.at + by) % len(self.found)

    @property
    def picked(self) -> Entry | None:
        """The one that Tab would write."""
        return self.found[self.at] if self.found else None

    @property
    def rest(self) -> str:
        """What of the picked name is not written yet."""
        return self.picked.name[len(self._text) :] if self.picked else ""

    @property
    def unfinished(self) -> bool:
        """Whether what is written is only the beginning of a name."""
        names = [entry.name for entry in self.found]
        return bool(names) and self._text not in names and " " not in self._text

    def _fitting(self, text: str) -> Sequence[Entry]:
        if not text.startswith("/") or "\n" in text:
            return ()
        name, space, _ = text.partition(" ")
        if space:  # only how it goes on
            return [entry for entry in self.entries if entry.name == name and entry.takes_words]
        return [entry for entry in self.entries if entry.name.startswith(name)]
