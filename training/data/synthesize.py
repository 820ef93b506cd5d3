"""Samples that models write: a solver answers, a thinker completes the reasoning, a critic or a program judges.

Without thinking, several answers are drawn and the shortest right one is kept (rejection sampling). With thinking, the
solver's answer is a draft for the thinker, whose reply is judged; what can be mended goes back to it with what is
wrong, a few times. Where a task has tests, or its answer is known, they decide and the critic is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from assistant.think import Situation, users_words
from model.engine import EngineRefused
from model.format import Mode, ThinkRequest
from training.data.asking.abreast import abreast
from training.data.asking.attempts import Attempt, Dropped, Kept, Rules
from training.data.asking.checking import Checks
from training.data.asking.drawing import BrokeOff, Drawing, Model, TookTooLong, opened
from training.data.asking.posing import Posed, pose
from training.data.modes.judging import judge_text
from training.data.modes.regimes import round_trips
from training.data.schema import Refused, Sample, Task, Verification, Votes, content_id
from training.data.stage import Context, place
from training.seeds import rng


@dataclass(frozen=True, slots=True)
class Synthesize:
    """Asks the context's engine for replies to tasks, in the `regimes` named (``off``, ``on``).

    `tries` answers are drawn without thinking; a thought is revised up to `rounds` times; a critic's score must reach
    `threshold`. `sources` is a folder of profiled sources in which patches are run; without it they are compared. A
    reply may have so many `tokens`, `think` of them for its thought; `timeout` is in seconds. The numbers are our
    choice but for temperature and top_p, which are those of HiPO's model card.
    """

    seed: int = 0
    regimes: tuple[Literal["off", "on"], ...] = ("off", "on")
    tries: int = 4
    rounds: int = 2
    threshold: float = 0.7
    temperature: float = 0.6
    top_p: float = 0.95
    tokens: int = 1024
    think: int = 640
    timeout: float = 120.0
    retries: int = 3
    sources: str = place()

    name: ClassVar[str] = "synthesize"
    version: ClassVar[int] = 3
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Sample
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Sample | Refused]:
        """The samples of each task, and why there are not more. Raises EngineError if the engine is gone."""
        drawing = Drawing(self.temperature, self.top_p, self.tokens, self.think, self.timeout, self.retries)
        maker = _Maker(self, Checks.of(context, self.sources))
        return abreast(records, partial(opened, context, drawing), maker, context.jobs)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the samples of one task."""

    stage: Synthesize
    checks: Checks

    async def __call__(self, model: Model, task: Task) -> Sequence[Sample | Refused]:
        posed = pose(task)
        if posed is None:
            return [Refused(task.id, "unposed", "its code is not shown, so that a model could not answer")]
        attempt = Attempt(task.id, posed, model, self._rules, partial(self.checks, task))
        modes = [Mode(regime) for regime in self.stage.regimes if posed.wish in (ThinkRequest.AUTO, regime)]
        return [await self._one(attempt, task, mode) for mode in modes]

    @property
    def _rules(self) -> Rules:
        return Rules(self.stage.seed, self.stage.tries, self.stage.rounds, self.stage.threshold)

    async def _one(self, attempt: Attempt, task: Task, mode: Mode) -> Sample | Refused:
        """The sample in one mode, or why there is none."""
        try:
            kept = await (attempt.thought() if mode is Mode.ON else attempt.direct())
        except Dropped as dropped:
            return Refused(task.id, dropped.reason, f"thinking {mode}: {dropped}")
        except (TookTooLong, BrokeOff, EngineRefused) as error:
            return Refused(task.id, "engine", f"thinking {mode}: {error}")
        made = _sample(self.stage.seed, task, attempt.posed, mode, kept)
        if not round_trips(made.reply):
            return Refused(task.id, "unreadable", f"thinking {mode}: the reply would be read as something else")
        return made


def _sample(seed: int, task: Task, posed: Posed, mode: Mode, kept: Kept) -> Sample:
    think = kept.reply.think.strip() if mode is Mode.ON else ""
    heard = users_words(Situation(posed.messages[-1].content, ThinkRequest.AUTO, 0))
    asked = heard is not None and posed.wish is heard.request is ThinkRequest(mode.value)
    judge = judge_text(rng(seed, "judge", task.id, mode), mode, task.tags, Votes(), task.tags.language)
    return Sample(
        content_id("sample", "synthesize", task.id, mode, think, kept.reply.answer),
        posed.family,
        mode,
        posed.messages,
        kept.reply.answer,
        replace(task.provenance, made_by=f"synthesize:{kept.evidence['model']}", parent=task.id),
        heard.why if heard and asked else judge,
        think,
        request=posed.wish if asked else ThinkRequest.AUTO,
        by="request" if asked else "regime",
        task=task.id,
        licence=task.licence,
        tags=task.tags,
        verification=Verification(kept.by, 1, kept.evidence),
        split=task.split,
    )
