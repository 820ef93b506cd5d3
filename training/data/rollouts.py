"""Several tries at each task in each mode, of which each is checked: what votes are counted from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from model.engine import EngineRefused
from model.format import Mode, ThinkRequest
from training.data.asking.abreast import abreast, cancelled
from training.data.asking.checking import Checks
from training.data.asking.drawing import BrokeOff, Drawing, Model, TookTooLong, opened
from training.data.asking.posing import Posed, pose
from training.data.asking.replies_cache import Drawn
from training.data.schema import Refused, Rollout, Task, content_id
from training.data.stage import Context, place
from training.seeds import derived


@dataclass(frozen=True, slots=True)
class Rollouts:
    """`n` replies to each task in each mode, which is prefilled, as HiPO (arXiv 2509.23967) counts its votes.

    Temperature and top_p are those of HiPO's model card, the limits our choice. `sources` is a folder of profiled
    sources in which patches are run; without it they are compared with the known one.
    """

    seed: int = 0
    n: int = 4
    temperature: float = 0.6
    top_p: float = 0.95
    tokens: int = 1024
    think: int = 640
    timeout: float = 120.0
    retries: int = 3
    sources: str = place()

    name: ClassVar[str] = "rollouts"
    version: ClassVar[int] = 2
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Rollout
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Rollout | Refused]:
        """The tries at each task, all of them or none. Raises EngineError if the engine is gone."""
        drawing = Drawing(self.temperature, self.top_p, self.tokens, self.think, self.timeout, self.retries)
        trier = _Trier(self, Checks.of(context, self.sources))
        return abreast(records, partial(opened, context, drawing), trier, context.jobs)


@dataclass(frozen=True, slots=True)
class _Trier:
    """Tries one task."""

    stage: Rollouts
    checks: Checks

    async def __call__(self, model: Model, task: Task) -> Sequence[Rollout | Refused]:
        posed = pose(task)
        if posed is None:
            return [Refused(task.id, "unposed", "its code is not shown, so that a model could not answer")]
        tries = [(mode, number) for mode in (Mode.ON, Mode.OFF) for number in range(self.stage.n)]
        tasks = [asyncio.ensure_future(self._one(model, task, posed, mode, number)) for mode, number in tries]
        try:
            found = await asyncio.gather(*tasks)
        except (TookTooLong, BrokeOff, EngineRefused) as error:
            return [Refused(task.id, "engine", str(error))]
        finally:
            await cancelled(tasks)
        rollouts = [each for each in found if each is not None]
        return rollouts or [Refused(task.id, "unchecked", "neither tests nor a known answer can tell what is right")]

    async def _one(self, model: Model, task: Task, posed: Posed, mode: Mode, number: int) -> Rollout | None:
        """One try; None where nothing can tell whether it is right."""
        seed = derived(self.stage.seed, "rollout", task.id, mode, number) % 2**31
        drawn = await model.reply(posed.messages, ThinkRequest(mode), seed)
        verdict = await self.checks(task, drawn.reply)
        if verdict.passed is None:
            return None
        passed = verdict.passed and drawn.whole and drawn.reply.mode is mode
        why = "" if passed else verdict.why or _unfit(drawn, mode)
        name = content_id("rollout", task.id, mode, str(number), str(seed), model.name)
        return Rollout(name, task.id, mode, drawn.reply, passed, verdict.by, drawn.tokens, model.name, seed, why)


def _unfit(drawn: Drawn, mode: Mode) -> str:
    if not drawn.whole:
        return "the reply reached its limit of tokens"
    return f"the reply did not keep thinking {mode}"
