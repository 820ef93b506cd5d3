"""Whole agent episodes as rollouts: the assistant's own loop, tools and sandbox in a copy of the task's files.

Episodes run side by side; what their steps ask meanwhile is drawn in one batch (`Desk`). Each step's prompt and reply
become a turn of the rollout. A forced mode is one that is pinned, so that each step's opening is as in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assistant import interrupts
from assistant.ending import Limits as Steps
from assistant.errors import UserError
from assistant.tasks.patched import changes_in_turn
from assistant.workspace.plain_git import plain_git
from model.engine import Delta, EngineError, EngineInfo, EngineRefused, Finish, Sampling, Usage
from model.format import ThinkRequest
from model.prompt import Opening, Prompt
from training.budgets import Voice
from training.data.asking.checking import solved
from training.data.experts.playing import Stand, stand
from training.data.experts.steady import Astray
from training.data.modes.intent import strength, wish_of
from training.data.repositories.checkouts import Sources, tree
from training.data.schema import Task
from training.data.stage import Context
from training.rewards import Score, well_formed
from training.rollout import Draws, Seat, Tried, Turn, majority
from training.sampling import Ask, Drawn, Limits
from training.settings import Rl

_GATHERING = 0.05
"""Seconds that a batch waits for steps of other episodes; our choice."""
CONTEXT = 8192
"""Tokens of a step's prompt with its reply, at most; our choice."""
_LOST = (EngineError, UserError, Astray, OSError)
_BROKEN = "the episode broke off"


class Desk:
    """Where steps of many episodes wait until their replies are drawn together. Open as long as episodes run."""

    def __init__(self, draws: Draws, limits: Limits, seed: int) -> None:
        self._draws, self._limits, self._seed = draws, limits, seed
        self._waiting: list[tuple[Ask, asyncio.Future[Drawn]]] = []
        self._come = asyncio.Event()
        self._clerk: asyncio.Task[None] | None = None

    async def draw(self, ask: Ask) -> Drawn:
        """A reply, when its batch has been drawn."""
        future: asyncio.Future[Drawn] = asyncio.get_running_loop().create_future()
        self._waiting.append((ask, future))
        self._come.set()
        return await future

    async def __aenter__(self) -> Desk:
        self._clerk = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._clerk:
            self._clerk.cancel()
            await asyncio.gather(self._clerk, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            await self._come.wait()
            await asyncio.sleep(_GATHERING)
            self._come.clear()
            batch, self._waiting = self._waiting, []
            self._seed += 1
            try:
                found = await asyncio.to_thread(self._draws.draw, [ask for ask, _ in batch], self._limits, self._seed)
            except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
                _fail(batch, error)
                continue
            for (_, future), drawn in zip(batch, found, strict=True):
                if not future.done():
                    future.set_result(drawn)


@dataclass(slots=True)
class Recorded:
    """An engine that draws at a desk, and keeps each prompt with its reply."""

    desk: Desk
    voice: Voice
    context: int = CONTEXT
    turns: list[Turn] = field(default_factory=list)

    async def info(self) -> EngineInfo:
        """The trainer's own model."""
        return EngineInfo("trainer", "trainer", self.voice.dialect.name, self.context, batches=True)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The reply, in one piece. Raises EngineRefused if the prompt does not fit."""
        bare = self.voice.dialect.reopen(prompt, Opening("", self.voice.dialect.parser().segment))
        ask = Ask(
            tuple(bare.token_ids(self.voice.tokens)),
            tuple(self.voice.tokens.encode(prompt.opening.text, specials=True)) if prompt.opening.text else (),
        )
        if len(ask.prompt) + len(ask.forced) + sampling.max_tokens > self.context:
            raise EngineRefused(f"the prompt has {len(ask.prompt)} tokens, too many for {self.context} with its reply")
        drawn = await self.desk.draw(ask)
        written = self.voice.read(drawn)
        self.turns.append(Turn(ask.prompt, written))
        finish = Finish.STOP if drawn.finish == "stop" else Finish.LENGTH
        usage = Usage(len(ask.prompt), 0, drawn.spent)
        yield Delta(written.text.removeprefix(prompt.opening.text), drawn.spent, finish, usage)

    async def count(self, prompt: Prompt) -> int | None:
        """Tokens of a prompt."""
        return len(prompt.token_ids(self.voice.tokens))

    async def aclose(self) -> None:
        """Nothing to let go of."""


@dataclass(frozen=True, slots=True)
class Episodes:
    """Makes rollouts of tasks whose tests tell whether they are solved."""

    draws: Draws
    voice: Voice
    context: Context
    sources: Sources
    rl: Rl
    limits: Limits
    longest: int = CONTEXT
    say: Callable[[str], None] = lambda _: None

    def __call__(self, seats: Sequence[Seat[Task]], seed: int) -> list[Tried]:
        """One rollout a seat, several at a time."""
        return interrupts.run(self._all(seats, seed))

    async def _all(self, seats: Sequence[Seat[Task]], seed: int) -> list[Tried]:
        async with Desk(self.draws, self.limits, seed) as desk:
            return list(await asyncio.gather(*(self._one(seat, desk) for seat in seats)))

    async def _one(self, seat: Seat[Task], desk: Desk) -> Tried:
        engine, task = Recorded(desk, self.voice, self.longest), seat.task
        think = ThinkRequest(seat.mode.value) if seat.mode else ThinkRequest.AUTO
        try:
            score = await self._played(task, engine, think)
        except _LOST as error:
            score = Score(None, 0.0, f"{_BROKEN}: {error}")
        lost = score.why.startswith(_BROKEN) or not engine.turns
        if lost:
            why = score.why if engine.turns else f"it came to no step, {score.why}; its prompt may be too long"
            self.say(f"nothing is learned of an episode of {task.id}: {why}")
        turns = tuple(engine.turns) or (self._nothing(),)
        forms = [well_formed(turn.written, self.voice.dialect) for turn in turns]
        return Tried(
            turns,
            Score(score.accuracy, sum(forms) / len(forms), score.why),
            majority([turn.written.reply.mode for turn in turns]),
            seat.mode is not None,
            wish_of(strength(task.statement)),
            lost=lost,
        )

    def _nothing(self) -> Turn:
        """A turn in which nobody said anything, where an episode broke off before its first step."""
        end = min(self.voice.tokens.ends)
        return Turn((end,), self.voice.read(Drawn((end,), (0.0,), (False,), "stop")))

    async def _played(self, task: Task, engine: Recorded, think: ThinkRequest) -> Score:
        """Play it in a fresh copy, and run its tests on what came of it."""
        source = self.sources.get(task.provenance.source)
        base = tree(source, task.provenance.revision, self.context.cache)
        with stand(source, base, task.test) as fresh:
            place = begun(fresh, task)
            steps = Steps(self.rl.most_steps)
            await place.attempt(task.statement, engine, "compact", think, steps, self.limits.tokens)
            patch = await asyncio.to_thread(changed, place.root)
        if not patch.strip():
            return Score(0.0, 1.0, "nothing was changed")
        verdict = await asyncio.to_thread(solved, task, source, patch, self.context)
        return Score(float(bool(verdict.passed)), 1.0, verdict.why)


def begun(fresh: Stand, task: Task) -> Stand:
    """The copy as the task begins, in git as one state."""
    start = changes_in_turn((task.start,), fresh.base)
    place = fresh.beginning({each.path: each.new.content if each.new else None for each in start.changes})
    _commit(place.root)
    return place


def changed(root: Path) -> str:
    """What an episode did to the files, as a patch."""
    plain_git(root, "add", "--all", failing="the changes cannot be read")
    return plain_git(root, "diff", "--cached", "--no-color", "--no-ext-diff", failing="the changes cannot be read")


def _commit(root: Path) -> None:
    for order in (("add", "--all", "--force"), ("commit", "--quiet", "--allow-empty", "-m", "as the task begins")):
        plain_git(root, *order, failing="the copy cannot be used")


def _fail(batch: Sequence[tuple[Ask, asyncio.Future[Drawn]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
