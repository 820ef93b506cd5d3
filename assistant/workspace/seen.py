"""What the model knows of each file: the digest of the bytes it was shown or wrote last."""

from __future__ import annotations


class Seen:
    """A conversation's ledger of files, by path. Kept in memory only: a resumed conversation begins without.

    What a call shows is known from the next reply on: the other calls of a reply were written before it was shown.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        self._written: set[str] = set()

    @property
    def opened(self) -> frozenset[str]:
        """The files that the model knows."""
        return frozenset(self._known)

    @property
    def written(self) -> frozenset[str]:
        """The files that its calls changed, those that are gone left out."""
        return frozenset(self._written & self._known.keys())

    def next_reply(self) -> None:
        """The model goes on, and has before it what it was shown."""
        self._known |= self._shown
        self._shown.clear()

    def show(self, path: str, digest: str) -> None:
        """The file is in the result of a call: it was read, or is shown in a refusal."""
        self._shown[path] = digest

    def wrote(self, path: str, digest: str | None) -> None:
        """The model's own call left the file so; None: it is gone."""
        self._shown.pop(path, None)
        self._known.pop(path, None)
        self._written.add(path)
        if digest is not None:
            self._known[path] = digest

    def moved(self, path: str, new_path: str) -> None:
        """The file has another name; what is known of it stays."""
        for digests in (self._known, self._shown):
            digests.pop(new_path, None)
            if path in digests:
                digests[new_path] = digests.pop(path)
        self._written.add(new_path)

    def knows(self, path: str) -> bool:
        """Whether the file was ever read or written in this conversation."""
        return path in self._known

    def is_current(self, path: str, digest: str) -> bool:
        """Whether the file is as the model knows it."""
        return self._known.get(path) == digest
