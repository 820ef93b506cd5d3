"""Numbers and one-line texts as people read them."""

from __future__ import annotations

from datetime import datetime

from assistant.records import Seconds, Tokens
from assistant.safety.sanitize import sanitize


def one_line(text: str) -> str:
    """`text` from outside, made harmless and put on one line."""
    return " ".join(sanitize(text).split())


def count(number: int) -> str:
    """A count in three digits or so: 812, 3.2k, 41k, 1.3M."""
    if number < 1000:
        return str(number)
    if number < 999_500:
        return f"{number / 1000:.1f}k" if number < 9950 else f"{number / 1000:.0f}k"
    return f"{number / 1e6:.1f}M"


def duration(seconds: float) -> str:
    """Seconds as 0.4 s, 12 s or 2 min 05 s."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"


def written(tokens: Tokens) -> int:
    """Tokens that the model wrote."""
    return tokens.judge + tokens.think + tokens.answer


def elapsed(seconds: Seconds) -> float:
    """All seconds of a step."""
    return seconds.queue + seconds.first_token + seconds.decode + seconds.tools


def plural(number: int, noun: str, many: str = "") -> str:
    """A count with its noun; `many` where an s does not make the plural."""
    return f"{count(number)} {noun if number == 1 else many or f'{noun}s'}"


def ago(time: str, now: datetime) -> str:
    """How long before `now` an ISO 8601 time was: just now, 5 min ago, 3 h ago, 12 d ago; empty for what is no time."""
    try:
        seconds = (now - datetime.fromisoformat(time)).total_seconds()
    except (ValueError, TypeError):
        return ""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return "just now"
