"""`kat fix`: reproduce, localise, attempt, verify. The repository itself is only read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib import import_module

from assistant.errors import RefusedError, UserError
from assistant.events import Event, Notice
from assistant.fix.agent import Order, agent_attempt
from assistant.fix.bench import Bench
from assistant.fix.candidates import issue_prompt
from assistant.fix.changes import Changes
from assistant.fix.localise import localise
from assistant.fix.progress import Progress
from assistant.fix.report import FixReport, receipt
from assistant.fix.reproduce import reproduce
from assistant.fix.request import FixRequest
from assistant.fix.search import Search
from assistant.fix.stages import Attempt, Reproduction
from assistant.fix.trees import fingerprint, tree_of
from assistant.fix.verify import passes
from assistant.fix.views import views
from assistant.records import Tokens
from assistant.safety.choice import sandbox_for
from assistant.safety.rules import read_rule
from assistant.safety.sandbox import Harm, Sandbox
from assistant.testing.commands import find_test_command
from assistant.testing.report import TestReport
from assistant.workspace.files import Workspace
from model.engine import Engine

_LOOKING = 0.1
"""The part of the time that finding the place of the fault may take, and the most seconds of it; our choice."""
_LONGEST_LOOK = 90.0

Judge = Callable[[FixReport, Callable[[Changes], Awaitable[TestReport]]], Awaitable[FixReport]]


async def fix(
    request: FixRequest,
    open_engine: Callable[[], Awaitable[Engine]],
    watch: Callable[[Event], None] = lambda _: None,
    progress: Progress | None = None,
    judge: Judge | None = None,
) -> FixReport:
    """Try to make the failing tests pass; what was found is in `progress`, also where this is cancelled.

    `judge` has the last word: it gets the report, and what runs all tests on changed files.

    Raises:
        RefusedError: no sandbox keeps what is run here from the rest of the machine, and no rule allows that.
        UserError: there are no tests to run, or they cannot be run.
        EngineError: the engine does not answer.
    """
    started = time.monotonic()
    progress = progress or Progress()
    with ExitStack() as stack:
        bench = await _bench(request, stack)
        engine = _Opening(open_engine)
        try:
            report = await _fix(bench, engine, watch, progress, started)
            if judge:
                progress.note(replace(report, status="not_fixed", message=f"Not judged yet. {report.message}"))
                report = await judge(report, bench.tests)
        finally:
            await engine.aclose()
    report = replace(report, seconds=round(time.monotonic() - started, 3))
    progress.note(report)
    return report


class _Opening:
    """The engine, opened when it is first wanted: where nothing fails, none is."""

    def __init__(self, open_engine: Callable[[], Awaitable[Engine]]) -> None:
        self._open = open_engine
        self._engine: Engine | None = None

    async def get(self) -> Engine:
        """The engine."""
        if self._engine is None:
            self._engine = await self._open()
        return self._engine

    async def aclose(self) -> None:
        """Close it, if it was opened."""
        if self._engine is not None:
            await self._engine.aclose()


@dataclass(slots=True)
class _Writer:
    """Has the agent write a failing test, in what is left of time and tokens."""

    bench: Bench
    engine: _Opening
    watch: Callable[[Event], None]
    deadline: float
    tokens: Tokens = field(default_factory=Tokens)

    async def __call__(self, hint: str = "") -> Attempt:
        """The attempt."""
        self.watch(Notice("info", "No test shows the issue yet: the agent writes one first."))
        request, engine = self.bench.request, await self.engine.get()
        left = None if request.budget_tokens is None else max(1, request.budget_tokens - self.tokens.written)
        order = Order(
            issue_prompt(request.issue or "", hint),
            request.issue or "",
            request.settings.think,
            tokens=left,
            seconds=max(1.0, self.deadline - time.monotonic()),
        )
        attempt = await agent_attempt(self.bench, engine, order, self.watch)
        self.tokens += attempt.tokens
        return attempt


async def _bench(request: FixRequest, stack: ExitStack) -> Bench:
    workspace = Workspace(request.repository)
    command = request.test_command or request.settings.test_command
    command = command or await asyncio.to_thread(find_test_command, workspace)
    if command is None:
        raise UserError("no tests were found; say how they run with --test COMMAND")
    made = stack.enter_context(views(workspace.root))
    sandbox = await asyncio.to_thread(sandbox_for, workspace.root, request.settings)
    check_confined(sandbox, request.allow)
    return Bench(request, workspace, sandbox, made, command)


async def _fix(
    bench: Bench, engine: _Opening, watch: Callable[[Event], None], progress: Progress, started: float
) -> FixReport:
    request, deadline = bench.request, started + bench.request.timeout
    writer = _Writer(bench, engine, watch, deadline) if request.issue else None
    stamp = await asyncio.to_thread(fingerprint, bench.workspace.root)
    found = await reproduce(bench, writer, lambda text: watch(Notice("info", text)))
    watch(Notice("info", _summary(found)))
    if not found.fails and not request.issue:
        return _nothing(bench, found)
    look = max(0.0, min(_LONGEST_LOOK, (deadline - time.monotonic()) * _LOOKING))
    looking = asyncio.ensure_future(localise(bench, found, issue=request.issue, seconds=look))
    try:
        opened, _ = await asyncio.gather(
            engine.get(),
            asyncio.to_thread(import_module, "assistant.opening"),  # it takes a second, which the tests take anyway
        )
        where = await looking
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    search = Search(bench, opened, found, where, watch, progress.note, deadline=deadline, stamp=stamp)
    return await search.run()


def _summary(found: Reproduction) -> str:
    if not found.failing:
        return f"The tests fail (exit code {found.before.exit_code})." if found.fails else "No test fails."
    names = ", ".join(found.failing[:3]) + (", …" if len(found.failing) > 3 else "")
    flaky = f"; {len(found.flaky)} flaky, set apart" if found.flaky else ""
    written = "; the agent wrote a test that shows the issue" if found.own_test else ""
    return f"{len(found.failing)} failing: {names}{flaky}{written}."


def _nothing(bench: Bench, found: Reproduction) -> FixReport:
    before, flaky = found.before, len(found.flaky)
    unseen = [name for name in bench.request.tests if not passes(name, before)]
    tree = tree_of(bench.workspace.root, Changes())
    return FixReport(
        "nothing_to_fix",
        f"All tests pass{f' but {flaky} flaky: {found.flaky[0]}' if flaky else ''}"
        f"{f'; {unseen[0]} was asked for and is not among them' if unseen else ''}.",
        bench.command,
        flaky=found.flaky,
        views=bench.views.kind,
        receipt=receipt(before.command, before.exit_code, tree, before.output),
    )


def check_confined(sandbox: Sandbox, allow: Sequence[str]) -> None:
    """What is run belongs to the repository and to the model: nobody has agreed to it outside a sandbox."""
    confined = {Harm.OUTSIDE, Harm.HOME, Harm.TCP} <= sandbox.stops
    if not confined and not any(read_rule(text).allows("command") for text in allow):
        raise RefusedError(
            "no sandbox works here, so tests and commands could do whatever you can; "
            "`kat doctor` says more, and --allow command runs them all the same"
        )
