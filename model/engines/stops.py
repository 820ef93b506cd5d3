"""Stop words, found in text that comes in pieces."""

from __future__ import annotations


class StopWords:
    """Passes text on up to the first stop word; what may be the start of one is held."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = tuple(word for word in words if word)
        self._held = ""
        self.hit = False

    def feed(self, text: str) -> str:
        """The text that is certain. After a hit there is none."""
        if self.hit or not self._words:
            return "" if self.hit else text
        text = self._held + text
        ends = [at for at in (text.find(word) for word in self._words) if at >= 0]
        if ends:
            self.hit, self._held = True, ""
            return text[: min(ends)]
        keep = self._partial(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held; no more text comes."""
        text, self._held = self._held, ""
        return text

    def _partial(self, text: str) -> int:
        """How many characters at the end may begin a stop word."""
        longest = max(map(len, self._words)) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(word.startswith(text[-size:]) for word in self._words):
                return size
        return 0
