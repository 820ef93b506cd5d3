"""Samples as tokens: ids, which of them carry loss, and the segment each belongs to; the masks are `masking`'s.

Tokens are those of use: the prompt is encoded as engines encode it (`Prompt.token_ids`), with what was prefilled, and
the reply behind it as one text, as a model would write it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from typing import Protocol

from assistant.errors import UserError
from model.format import Mode, Segment
from model.prompt import Dialect, Prompt, Tokenizer
from training.data.masking import Stretch, masked
from training.data.schema import Sample

IGNORED = -100
"""The target of a position that carries no loss, as in torch's cross-entropy."""


class Place(IntEnum):
    """The segment of a token; the mark of the mode and its newline belong to the judge (HiPO, arXiv 2509.23967)."""

    PROMPT = 0
    JUDGE = 1
    THINK = 2
    ANSWER = 3
    TOOL = 4


_PLACES = {
    None: Place.PROMPT,
    Segment.JUDGE: Place.JUDGE,
    Segment.THINK: Place.THINK,
    Segment.ANSWER: Place.ANSWER,
    Segment.TOOL: Place.TOOL,
}


class Coder(Tokenizer, Protocol):
    """A tokenizer that goes back to text as well."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, with U+FFFD for bytes that are no UTF-8."""


@dataclass(frozen=True, slots=True)
class Example:
    """One assistant turn: `ids` of prompt, reply and end of turn; `loss` and `places` are as long.

    What was prefilled belongs to the prompt.
    """

    id: str
    ids: tuple[int, ...]
    loss: tuple[bool, ...]
    places: tuple[Place, ...]
    mode: Mode = Mode.OFF
    family: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def targets(self) -> tuple[int, ...]:
        """The next token at each position whose next token carries loss, else `IGNORED`; the last has none."""
        following = zip(self.ids[1:], self.loss[1:], strict=True)
        return (*(token if carries else IGNORED for token, carries in following), IGNORED)


def example(sample: Sample, dialect: Dialect, tokenizer: Coder) -> Example:
    """A sample as tokens.

    Raises:
        UserError: no token of it carries loss, so that nothing would be learned from it.
    """
    asked, reply = parts(sample, dialect)
    prompt = asked.token_ids(tokenizer)
    text = "".join(stretch.text for stretch in reply)
    ids = tokenizer.encode(text, specials=True)
    if not ids:
        raise UserError(f"the sample {sample.id} has no token that carries loss; leave it out of the data")
    found = _stretches(ids, reply, tokenizer)
    return Example(
        sample.id,
        (*prompt, *ids),
        (*[False] * len(prompt), *[True] * len(ids)),
        (*[Place.PROMPT] * len(prompt), *(_PLACES[stretch.segment] for stretch in found)),
        sample.mode,
        sample.family,
    )


def examples(samples: Iterable[Sample], dialect: Dialect, tokenizer: Coder) -> Iterator[Example]:
    """The trainable samples as tokens; turns whose call failed are context for others, and left out here."""
    return (example(sample, dialect, tokenizer) for sample in samples if sample.trainable)


def parts(sample: Sample, dialect: Dialect) -> tuple[Prompt, list[Stretch]]:
    """The prompt with what was prefilled, and the stretches of the reply behind it; none where the turn failed.

    Raises:
        UserError: its reply is not in the mode that was prefilled.
    """
    prompt = dialect.render(sample.messages, sample.tools, sample.request, sample.judge)
    stretches = [stretch for stretch in masked(sample, dialect) if stretch.segment]
    learnt = [stretch for stretch in stretches if stretch.carries_loss]
    if prompt.opening.text and len(learnt) == len(stretches):
        raise UserError(f"the sample {sample.id} asks for {sample.request.value} and replies otherwise; leave it out")
    return prompt, learnt


def _stretches(ids: Sequence[int], reply: Sequence[Stretch], tokenizer: Coder) -> list[Stretch]:
    """The stretch of each token: the one that its first character lies in."""
    borders = _borders([stretch.text for stretch in reply], ids, tokenizer)
    starts = [_first(ids, border, tokenizer) for border in borders]
    return [reply[bisect_right(starts, index) - 1] for index in range(len(ids))]


def _borders(texts: Sequence[str], ids: Sequence[int], tokenizer: Coder) -> list[int]:
    """Where each text begins in what the tokens decode to, in characters."""
    *starts, _ = accumulate(map(len, texts), initial=0)
    text = "".join(texts)
    if tokenizer.decode(ids) == text:
        return starts
    return [len(tokenizer.decode(tokenizer.encode(text[:start], specials=True))) for start in starts]  # normalised


def _first(ids: Sequence[int], border: int, tokenizer: Coder) -> int:
    """The first token that begins at this character or behind it."""
    return bisect_left(range(len(ids)), border, key=lambda index: len(tokenizer.decode(ids[:index])))
