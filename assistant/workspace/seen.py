"""What the model knows of each file: the digest of the bytes it was shown or wrote last."""

from __future__ import annotations


class Seen:
    """A conversation's ledger of files, by path. Kept in memory only: a resumed conversation begins without."""

    def __init__(self) -> None:
        self._digests: dict[str, tuple[str, object]] = {}

    def note(self, path: str, digest: str | None, by: object = None) -> None:
        """The file at `path` was read, written, or shown in refusing the call `by`; None: it is gone.

        `by` does not know it by that: a call may be planned twice, and was written before it was refused.
        """
        if digest is None:
            self._digests.pop(path, None)
        else:
            self._digests[path] = (digest, by)

    def knows(self, path: str) -> bool:
        """Whether the file was ever read or written in this conversation."""
        return path in self._digests

    def is_current(self, path: str, digest: str, by: object = None) -> bool:
        """Whether the file is as it was when it was last shown to anyone but the call `by`."""
        known, shown_to = self._digests.get(path, ("", None))
        return known == digest and (shown_to is None or shown_to is not by)
