"""Judge texts that a model writes; where it writes none that is fit, the one that stands there stays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from assistant.chinese import has_chinese
from model.engine import EngineRefused
from model.format import Mode, ThinkRequest
from model.prompt import Message
from training.data.asking.abreast import abreast
from training.data.asking.drawing import BrokeOff, Drawing, Model, TookTooLong, opened
from training.data.flow.told import Note
from training.data.modes.judging import FEWEST, MOST, evidence, length
from training.data.modes.regimes import round_trips
from training.data.schema import ModeBy, Refused, Sample, content_id
from training.data.stage import Context
from training.seeds import derived

BY: frozenset[ModeBy] = frozenset({"vote", "stratum", "regime"})
"""What must have decided a mode for its judge to be the model's own; other judges quote a rule or the user."""
_SHOWN = 2_000
_SYSTEM = (
    "You write the judge of a coding assistant: one or two sentences, of 5 to 40 words, that say why it answers a "
    "request {how}. Speak of the request and of the evidence. Do not answer the request, and give no numbers."
)
_HOW = {Mode.ON: "with a thought before the answer", Mode.OFF: "at once, without a thought"}
_ODD = re.compile(r"[<>`\n{}]|\d|https?:")


@dataclass(frozen=True, slots=True)
class Judges:
    """Has the context's engine write the judges of samples whose mode was voted on, from the same evidence."""

    seed: int = 0
    temperature: float = 0.6
    tokens: int = 96
    timeout: float = 60.0
    retries: int = 3

    name: ClassVar[str] = "judges"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Sample
    writes: ClassVar[type] = Sample
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Sample], context: Context) -> Iterator[Sample | Refused]:
        """All samples, some with another judge. Raises EngineError if the engine is gone."""
        drawing = Drawing(temperature=self.temperature, tokens=self.tokens, timeout=self.timeout, retries=self.retries)
        work = partial(_written, self.seed)
        read = kept = 0
        for sample, fit in abreast(records, partial(opened, context, drawing), work, context.jobs):
            read, kept = read + 1, kept + fit
            yield sample
        context.watch(Note(f"{kept} of {read} judges written by the model"))


def fit(text: str, sample: Sample) -> bool:
    """Whether a text can be a sample's judge: short, in its language, without markup and numbers, nor the answer."""
    if not FEWEST <= length(text) <= MOST or _ODD.search(text):
        return False
    tells = len(sample.answer) > 3 and sample.answer.strip("`. ").casefold() in text.casefold()
    return has_chinese(text) is (sample.tags.language == "zh") and not tells


async def _written(seed: int, model: Model, sample: Sample) -> Sequence[tuple[Sample, bool]]:
    if sample.by not in BY or sample.request is not ThinkRequest.AUTO:
        return [(sample, False)]
    try:
        drawn = await model.reply(_asked(sample), ThinkRequest.OFF, derived(seed, "judges", sample.id))
    except (TookTooLong, BrokeOff, EngineRefused):
        return [(sample, False)]
    text = " ".join(drawn.reply.answer.split())
    made = replace(sample, id=content_id("sample", "judges", sample.id, text), judge=text)
    if not drawn.whole or not fit(text, sample) or not round_trips(made.reply):
        return [(sample, False)]
    return [(made, True)]


def _asked(sample: Sample) -> tuple[Message, ...]:
    said = next((message.content for message in reversed(sample.messages) if message.role != "system"), "")
    known = evidence(sample.mode, sample.tags, sample.votes, sample.tags.language)
    words = f"The request:\n{said[:_SHOWN]}\n\nThe evidence: {known[0]}"
    tongue = "\n\nWrite in Chinese." if sample.tags.language == "zh" else ""
    return Message("system", _SYSTEM.format(how=_HOW[sample.mode])), Message("user", words + tongue)
