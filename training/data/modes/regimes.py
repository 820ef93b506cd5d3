"""From what is to be said to samples of both regimes: at once, or behind a thought; and whether a reply can be read."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from assistant.errors import UserError
from model.dialects import dialect
from model.format import Mode, Reply, ThinkRequest
from model.prompt import Message
from training.data.modes.judging import judge_text
from training.data.schema import (
    ModeBy,
    Provenance,
    Refused,
    Sample,
    Split,
    Tags,
    Verification,
    Votes,
    content_id,
)

SHARE = 0.348
"""Of KAT-V1's samples, those that think; by second-hand sources."""
REGIMES = ("mixed", "both", "on", "off")
"""Each task in one regime by chance, in both, or in one and the same."""
_NO_VOTES = Votes()


@dataclass(frozen=True, slots=True)
class Draft:
    """A sample but for its regime. `think` is a true chain of thought, or empty where there is none.

    `forced` is the judge that is prefilled where the mode is asked for, empty where the model chooses; `by` says what
    decided the mode.
    """

    task: str
    family: str
    messages: tuple[Message, ...]
    answer: str
    provenance: Provenance
    tags: Tags
    verification: Verification
    licence: str = ""
    think: str = ""
    split: Split = "train"
    forced: str = ""
    by: ModeBy = "regime"


def checked(regimes: str, share: float) -> None:
    """Raises UserError if options of a stage that makes samples make no sense."""
    if regimes not in REGIMES:
        raise UserError(f"regimes is {regimes!r}; it is one of {', '.join(REGIMES)}")
    if not 0 <= share <= 1:
        raise UserError(f"the share of samples that think is {share}; give one from 0 to 1")


def modes(chance: random.Random, regimes: str, share: float, *, thought: bool) -> tuple[Mode, ...]:
    """The modes that a task is answered in; without a thought there is but one."""
    drawn = Mode.ON if chance.random() < share else Mode.OFF
    match regimes:
        case "both":
            wanted: tuple[Mode, ...] = (Mode.OFF, Mode.ON)
        case "mixed":
            wanted = (drawn if thought else Mode.OFF,)
        case _:
            wanted = (Mode(regimes),)
    return tuple(mode for mode in wanted if thought or mode is Mode.OFF)


def sample(draft: Draft, mode: Mode, chance: random.Random) -> Sample | Refused:
    """The draft in a mode; refused where what is written could not be read back as it is."""
    thinks = mode is Mode.ON
    judge = draft.forced or judge_text(chance, mode, draft.tags, _NO_VOTES, draft.tags.language)
    request = ThinkRequest(mode.value) if draft.forced else ThinkRequest.AUTO
    parts = [draft.task, draft.family, mode, request, draft.answer, *(message.content for message in draft.messages)]
    made = Sample(
        id=content_id("sample", *map(str, parts)),
        family=draft.family,
        mode=mode,
        messages=draft.messages,
        answer=draft.answer,
        provenance=draft.provenance,
        judge=judge,
        think=draft.think if thinks else "",
        request=request,
        by=draft.by,
        task=draft.task,
        licence=draft.licence,
        tags=draft.tags,
        verification=draft.verification,
        split=draft.split,
    )
    if not round_trips(made.reply):
        return Refused(made.id, "unreadable", "its reply, once written, would be read as something else")
    return made


def round_trips(reply: Reply, name: str = "kat") -> bool:
    """Whether a reply that a dialect writes is read back as the same one."""
    speaker = dialect(name)
    parser = speaker.parser()
    parser.feed(speaker.write(reply))
    parser.close()
    read = parser.reply
    return replace(read, calls=()) == replace(reply, calls=()) and len(read.calls) == len(reply.calls)
