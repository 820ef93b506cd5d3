"""Takes secrets out of what is kept or shown elsewhere: journals, logs, exports.

By name and by shape (`secret_names`, `secret_shapes`), and literally for values that are known. That something looks
random is not enough: hashes, UUIDs and pictures stay, and so does code that merely speaks of tokens. Time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from assistant.safety import secret_names, secret_shapes
from assistant.safety.secret_names import is_secret_value, secret_name
from assistant.safety.secret_shapes import Span, is_mixed, is_placeholder, is_wordlike

_LEAST, _LEAST_KNOWN, _LONGEST_KNOWN, _MOST_KNOWN = 5, 8, 1_000, 300
_NOT_SECRET = frozenset({"not-needed", "lm-studio", "no-key-required"})
"""What people give as a key to servers that want none."""


def redact(text: str, known: Sequence[str] = ()) -> str:
    """`text` with every secret in it replaced by `[redacted NAME]`; `known` are values that are secret as they are."""
    return _redact(_without(text, known), set())


def redact_record(record: Mapping[str, Any], known: Sequence[str] = ()) -> dict[str, Any]:
    """A JSON object with every text in it redacted, also by the keys that it stands under."""
    return Redactor(known).record(record)


class Redactor:
    """Redacts one record after the other, and knows a secret again that it has seen once: it may come back bare."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        self._known = list(known)

    @property
    def known(self) -> tuple[str, ...]:
        """The secrets that are taken out literally, those seen so far included."""
        return tuple(self._known)

    def record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record without its secrets, and without those of the records before it."""
        seen: set[str] = set()
        redacted = {key: _redacted(value, key, self._known, seen) for key, value in record.items()}
        learned = sorted(value for value in seen if _is_telling(value) and value not in self._known)
        if not learned:
            return redacted
        self._known = [*self._known, *learned][-_MOST_KNOWN:]
        return {key: _mapped(value, lambda text: _without(text, learned)) for key, value in redacted.items()}


def known_secrets(api_key: str | None, environ: Mapping[str, str], more: Iterable[str] = ()) -> tuple[str, ...]:
    """The user's own secrets, longest first: the engine's key, telling variables, and `more` of his settings."""
    values = {value for name, value in environ.items() if _holds_secret(name, value)}
    values |= {api_key, *more} if api_key else set(more)
    return tuple(sorted((v for v in values if len(v) >= _LEAST_KNOWN and v not in _NOT_SECRET), key=len, reverse=True))


def _found(text: str) -> Iterator[Span]:
    for shape in secret_shapes.FINDERS:
        yield from shape(text)
    lowered = text.lower()
    if len(lowered) != len(text):  # some letters become two
        lowered = re.sub("[A-Z]+", lambda found: found[0].lower(), text)
    for name in secret_names.FINDERS:
        yield from name(text, lowered)


def _holds_secret(name: str, value: str) -> bool:
    named = secret_name(name)
    return named is not None and is_secret_value(value, strong=named[1])


def _redact(text: str, seen: set[str]) -> str:
    """`text` without secrets, which are added to `seen`."""
    if len(text) < _LEAST:
        return text
    parts, at = [], 0
    for span in _merged(_found(text)):
        seen.add(text[span.start : span.end])
        parts += [text[at : span.start], f"[redacted {span.name}]"]
        at = span.end
    return "".join([*parts, text[at:]])


def _without(text: str, known: Sequence[str]) -> str:
    for value in known:
        text = text.replace(value, "[redacted key]")
    return text


def _is_telling(value: str) -> bool:
    """Whether it is a secret wherever it stands: no word that is one only under a name."""
    return is_mixed(value, _LEAST_KNOWN) and len(value) <= _LONGEST_KNOWN and not is_wordlike(value)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case dict():
            return {key: _mapped(each, change) for key, each in value.items()}
        case list():
            return [_mapped(each, change) for each in value]
        case _:
            return value


def _redacted(value: Any, key: str, known: Sequence[str], seen: set[str]) -> Any:
    match value:
        case str():
            return _text(value, key, known, seen)
        case dict():
            return {name: _redacted(each, name, known, seen) for name, each in value.items()}
        case list() | tuple():
            return [_redacted(each, key, known, seen) for each in value]
        case _:
            return value


def _text(value: str, key: str, known: Sequence[str], seen: set[str]) -> str:
    bare = _without(value, known)
    named = secret_name(key)
    if named and named[0] == "authorization":
        return _redact(f"Authorization: {bare}", seen).removeprefix("Authorization: ")
    if named and not is_placeholder(bare) and is_secret_value(bare, strong=named[1]):
        seen.add(bare)
        return f"[redacted {named[0]}]"
    return _redact(bare, seen)


def _merged(spans: Iterator[Span]) -> Iterator[Span]:
    """The spans in order; those that overlap become one, under the name of the one that begins first."""
    current: Span | None = None
    for span in sorted(spans):
        if current is not None and span.start < current.end:
            current = current._replace(end=max(current.end, span.end))
            continue
        if current is not None:
            yield current
        current = span
    if current is not None:
        yield current
