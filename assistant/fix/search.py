"""The search for a patch: strategies make attempts, the verifier judges them, the smallest good one wins."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from assistant.events import Event, Notice
from assistant.fix.agent import Order, agent_attempt
from assistant.fix.bench import Bench
from assistant.fix.candidates import SAMPLES, Plan, attempts_for, fix_prompt, plans, waves
from assistant.fix.lines import is_small, line_attempts
from assistant.fix.localise import shown_to_model
from assistant.fix.report import AttemptLine, FixReport
from assistant.fix.stages import Attempt, Localisation, Reproduction, Verdict
from assistant.fix.verify import Verifier
from assistant.records import StepRecord
from assistant.workspace.outline import roughly
from model.engine import Engine, EngineError, EngineInfo

_SUSPECTS_SHOWN = 300
"""Tokens of suspects that the agent is shown, and lines of them that a report keeps; our choice."""
_SUSPECTS_KEPT = 20
_PATIENCE = 3.0
"""So many times as long as before the agent's own runs of the tests may take; our choice."""

MakeAttempt = Callable[[Bench, Engine, Order, Callable[[Event], None]], Coroutine[Any, Any, Attempt]]


class Search:
    """One search. `deadline` is on the monotonic clock: then no new attempt is begun, and the agent stops.

    `stamp` is the fingerprint of the user's files as they were when the tests first ran; `attempt` is who makes one.
    """

    def __init__(
        self,
        bench: Bench,
        engine: Engine,
        found: Reproduction,
        where: Localisation,
        watch: Callable[[Event], None],
        note: Callable[[FixReport], None],
        *,
        deadline: float,
        stamp: str,
        attempt: MakeAttempt = agent_attempt,
    ) -> None:
        self._bench, self._engine, self._found, self._where = bench, engine, found, where
        self._watch, self._note, self._deadline, self._stamp = watch, note, deadline, stamp
        self._verifier, self._attempt = Verifier(bench, found), attempt
        self._verdicts: dict[str, Verdict] = {}
        self._times: Counter[str] = Counter()
        self._best: tuple[Attempt, Verdict] | None = None
        self._lines: list[AttemptLine] = []
        self._steps: list[StepRecord] = [*found.steps]
        self._tokens = found.tokens

    async def run(self) -> FixReport:
        """Attempts of every strategy that suits the engine, until one holds or time or tokens are used up."""
        info = await self._engine.info()
        self._note(self.report())
        strategy = self._bench.request.strategy
        if strategy == "line" or (strategy is None and is_small(info)):
            await self._by_lines()
        if strategy != "line" and not self._done:
            await self._by_agent(info)
        if self._best and self._fixed:
            attempt, verdict = self._best
            self._best = attempt, await self._verifier.still(verdict, self._stamp)
        return self.report()

    def report(self) -> FixReport:
        """What there is so far."""
        attempt, verdict = self._best or (None, None)
        status, message = self._status(verdict)
        delivered = self._verifier.laid(verdict.changes) if verdict else self._found.own_test
        return FixReport(
            status="fixed" if status else "not_fixed",
            message=message,
            test_command=self._bench.command,
            failed_before=self._found.failing,
            failed_after=verdict.after.failed if verdict and verdict.after else self._found.failing,
            patch=delivered.patch(),
            files=delivered.files,
            candidates=len(self._lines),
            steps=tuple(self._steps),
            tokens=self._tokens,
            receipt=verdict.receipt if verdict else None,
            strategy=attempt.strategy if attempt else "",
            flaky=self._found.flaky,
            own_test=self._found.own_test.patch(),
            suspects=self._where.lines[:_SUSPECTS_KEPT],
            sources=self._where.sources,
            attempts=tuple(self._lines),
            views=self._bench.views.kind,
        )

    @property
    def _done(self) -> bool:
        return self._fixed or time.monotonic() >= self._deadline or self._tokens_left == 0

    @property
    def _fixed(self) -> bool:
        return self._best is not None and self._best[1].fixed

    @property
    def _tokens_left(self) -> int | None:
        budget = self._bench.request.budget_tokens
        return None if budget is None else max(0, budget - self._tokens.written)

    def _status(self, verdict: Verdict | None) -> tuple[bool, str]:
        """Whether it is fixed, and what to say."""
        if verdict is None:
            used = "; time or tokens were used up" if self._done else ""
            return False, f"No attempt was finished{used}."
        if not self._verifier.shows:
            return False, f"No test shows the issue, so nothing is proven. {verdict.why}"
        many = f" ({len(self._lines)} attempts)" if len(self._lines) > 1 and not verdict.fixed else ""
        account = self._best[0].said if self._best and not verdict.fixed else ""
        return verdict.fixed, f"{verdict.why}{many}" + (f" Its own account: {account}" if account else "")

    async def _by_lines(self) -> None:
        request = self._bench.request
        drawn = line_attempts(
            self._engine,
            self._bench.workspace,
            self._found,
            self._where,
            samples=request.samples or SAMPLES,
            tokens=self._tokens_left,
            seed=request.settings.seed or 0,
            issue=request.issue or "",
        )
        self._watch(Notice("info", f"Single lines are drawn for {_places(self._where)}."))
        async with aclosing(drawn):
            async for attempt in drawn:
                await self._judge(attempt)
                if self._done:
                    break

    async def _by_agent(self, info: EngineInfo) -> None:
        request = self._bench.request
        batches = info.batches
        count = request.candidates or attempts_for(info, batches=batches)
        first = 1
        for wave in waves(plans(count, request.settings.think), batches=batches):
            await self._wave(wave, first, count)
            first += len(wave)
            if self._done:
                break

    async def _wave(self, wave: Sequence[Plan], first: int, count: int) -> None:
        """Attempts that run at once; the engine may fail in some of them, but not in all where none holds."""
        broken: list[EngineError] = []
        async with aclosing(self._made(wave, first, count, broken)) as made:
            async for attempt in made:
                await self._judge(attempt)
        if len(broken) == len(wave) and not self._fixed:
            raise broken[0]
        if broken:
            self._watch(Notice("warning", f"{len(broken)} of {len(wave)} attempts broke off: {broken[0]}"))

    async def _made(
        self, wave: Sequence[Plan], first: int, count: int, broken: list[EngineError]
    ) -> AsyncGenerator[Attempt, None]:
        """The attempts of a wave, as they end; only the first one is watched step by step."""
        running = []
        for place, plan in enumerate(wave):
            if count > 1:
                self._watch(Notice("info", f"Attempt {first + place} of {count}, thinking {plan.think.value}."))
            watch = self._watch if place == 0 else _nobody
            order = self._order(plan, len(wave))
            running.append(asyncio.ensure_future(self._attempt(self._bench, self._engine, order, watch)))
        try:
            for done in asyncio.as_completed(running):
                try:
                    attempt = await done
                except EngineError as error:
                    broken.append(error)
                    continue
                yield attempt
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _order(self, plan: Plan, wave: int) -> Order:
        request, workspace = self._bench.request, self._bench.workspace
        left = self._tokens_left
        suspects = shown_to_model(self._where, lambda path: workspace.read(path).text, roughly, _SUSPECTS_SHOWN)
        return Order(
            fix_prompt(self._found, request.issue, suspects, self._lines),
            request.issue or "",
            plan.think,
            plan.temperature,
            None if left is None else max(1, left // wave),
            max(1.0, self._deadline - time.monotonic()),
            _PATIENCE * self._found.before.seconds,
            self._found.own_test,
        )

    async def _judge(self, attempt: Attempt) -> None:
        """Verify an attempt, unless an equal one was, and keep the best."""
        started = time.monotonic()
        self._steps += attempt.steps
        self._tokens += attempt.tokens
        digest = self._verifier.of_the_code(attempt.changes).digest
        known = self._verdicts.get(digest)
        verdict = known or await self._verifier.verify(attempt.changes)
        self._verdicts[digest] = verdict
        self._times[digest] += 1
        if self._best is None or await asyncio.to_thread(_better, verdict, self._best[1]):
            self._best = (attempt, verdict)
        self._lines.append(_line(attempt, verdict, time.monotonic() - started, self._times[digest]))
        self._note(self.report())


def _nobody(_: Event) -> None:
    """Attempts beside the first one are not watched."""


def _better(one: Verdict, other: Verdict) -> bool:
    """Proven, then more mended, fewer lost, smaller."""
    if (one.fixed, one.mended - one.lost) != (other.fixed, other.mended - other.lost):
        return (one.fixed, one.mended - one.lost) > (other.fixed, other.mended - other.lost)
    if not (one.changes and other.changes):
        return bool(one.changes)
    return one.changes.size() < other.changes.size()


def _line(attempt: Attempt, verdict: Verdict, seconds: float, count: int) -> AttemptLine:
    took = sum(sum((s.seconds.first_token, s.seconds.decode, s.seconds.tools)) for s in attempt.steps) + seconds
    why = f"The same as before: {verdict.why}" if count > 1 else verdict.why
    files, think = attempt.changes.files, attempt.think.value
    return AttemptLine(
        attempt.strategy, think, attempt.temperature, verdict.fixed, why, files, attempt.tokens, round(took, 3), count
    )


def _places(where: Localisation) -> str:
    names = [f"{function.name} ({function.path})" for function in where.functions[:3]]
    return ", ".join(names) or "no function: none is suspect"
