"""Secrets and personal data taken out of records; what is reported are counts, never a value."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from assistant.safety import secret_names, secret_shapes
from training.data.guards.personal import FINDERS, Found, people
from training.data.guards.texts import TaskOrSample, fixed_of, measured, reworded, words_of
from training.data.schema import Refused, Sample, Task
from training.data.stage import Context

SECRET = "secret"  # noqa: S105 - the word, not one
MEASURE = "scrubbed:"
"""Before a kind's name in the measures of a record: how many different values of the kind were taken out of it."""
_LEAST = 5
_FORMS: Mapping[str, str] = {
    "email": "person{}@example.com",
    "phone": "+1 202-555-01{:02}",
    "iban": "IBAN-{}",
    "card": "CARD-{}",
    "ip": "192.0.2.{}",
    "name": "Person {}",
    SECRET: "SECRET_{}",
}
"""What stands for a value: of the same shape where one is reserved for examples (RFC 2606, RFC 5737, 555-01xx)."""
_INVENTED = re.compile(
    r"(?i)(?:x{3,}|0{6}|1234|abcd|dummy|fake|test|example|sample|placeholder|changeme|hunter2|correct.?horse"
    r"|pass(?:word|wd|phrase)?|secret|letmein|redacted|not.?real|foo|bar|baz|spam|user)"
)
"""In what people write for a secret in tests and documents."""
_PLAIN = re.compile(r"[^\s\"'`]+")
_TELLING = 12
"""Characters from which on a value under a secret's name counts; our choice. Shorter ones in code are made up."""


def scrub_text(text: str, names: Iterable[str] = ()) -> tuple[str, Counter[str]]:
    """The text without secrets and personal data, and how many different values of each kind it had."""
    scrubber = Scrubber(names)
    return scrubber(text), scrubber.counts


class Scrubber:
    """Takes values out of one text after the other; one value is replaced by one placeholder in all of them."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = tuple(names)
        self._known: dict[tuple[str, str], str] = {}
        self.counts: Counter[str] = Counter()

    def __call__(self, text: str) -> str:
        """The text with placeholders."""
        parts, at = [], 0
        for found in spans(text, self._names):
            parts += [text[at : found.start], self._placeholder(found.kind, text[found.start : found.end])]
            at = found.end
        return "".join([*parts, text[at:]])

    def _placeholder(self, kind: str, value: str) -> str:
        if (kind, value) not in self._known:
            self.counts[kind] += 1
            self._known[kind, value] = _FORMS[kind].format((self.counts[kind] - 1) % 99 + 1)
        return self._known[kind, value]


@lru_cache(4_096)
def spans(text: str, names: tuple[str, ...] = ()) -> tuple[Found, ...]:
    """What is found in a text, in order; of values that overlap, the first and longest.

    Texts come again: a conversation is in the prompt of each of its steps.
    """
    kept: list[Found] = []
    every = (each for find in (_secrets, *FINDERS, people(names)) for each in find(text))
    for found in sorted(every, key=lambda one: (one.start, -one.end, one.kind)):
        if not kept or found.start >= kept[-1].end:
            kept.append(found)
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Scrub:
    """Replaces secrets and personal data in what is read, and refuses records where they must stay.

    A secret in a patch, which has to apply, or in a reply, which is learned, makes it `secret`; personal data there
    makes it `personal`. `names` are people of the repository, as ``git shortlog -s`` names them.
    """

    names: tuple[str, ...] = ()

    name: ClassVar[str] = "scrub"
    version: ClassVar[int] = 1
    reads: ClassVar[Any] = Task | Sample
    writes: ClassVar[Any] = Task | Sample
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[TaskOrSample], context: Context) -> Iterator[TaskOrSample | Refused]:
        """The records that are clean."""
        for record in records:
            yield scrubbed(record, self.names)


def scrubbed(record: TaskOrSample, names: tuple[str, ...] = ()) -> TaskOrSample | Refused:
    """The record with placeholders in what is read, or why it is refused."""
    kinds = Counter(found.kind for text in fixed_of(record) for found in spans(text, names))
    if kinds:
        what = ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))
        reason = SECRET if kinds[SECRET] else "personal"
        return Refused(record.id, reason, f"what must stay as it is holds {what}.")
    if not any(spans(text, names) for text in words_of(record)):
        return record
    scrubber = Scrubber(names)
    clean = reworded(record, scrubber)
    return measured(clean, {f"{MEASURE}{kind}": float(count) for kind, count in sorted(scrubber.counts.items())})


def _secrets(text: str) -> Iterator[Found]:
    if len(text) < _LEAST:
        return
    for shape in secret_shapes.FINDERS:
        yield from (Found(span.start, span.end, SECRET) for span in shape(text) if _is_real(text, span))
    lowered = text.lower()
    if len(lowered) != len(text):  # some letters become two
        lowered = re.sub("[A-Z]+", lambda found: found[0].lower(), text)
    for name in secret_names.FINDERS:
        yield from (Found(span.start, span.end, SECRET) for span in name(text, lowered) if _is_telling(text, span))


def _is_real(text: str, span: secret_shapes.Span) -> bool:
    """Passwords in URLs of documents and tests are made up, as all short ones are; keys of services are not."""
    if span.name in ("password", "token", "basic auth", "bearer token"):
        return _is_telling(text, span)
    return True


def _is_telling(text: str, span: secret_shapes.Span) -> bool:
    value = text[span.start : span.end]
    long = _PLAIN.fullmatch(value) is not None and secret_shapes.is_mixed(value, _TELLING)
    return long and not secret_shapes.is_wordlike(value) and not _INVENTED.search(value)
