"""Tasks of the kind "answer": the prompt is asked once, without tools, and a program of the task's judges the reply."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from assistant.config import Settings
from assistant.draft import tokens_of
from assistant.errors import UserError
from assistant.evaluation.results import ERROR, Outcome
from assistant.opening import DRAWS, EMBEDDED_DRAWS
from assistant.records import Tokens
from assistant.safety.confinement.private import private_folder
from assistant.safety.sandbox import Sandbox
from assistant.sampling import sampling_of
from assistant.tasks.task import SKIPPED, Task
from assistant.think import Policy, Situation, pinned_mode
from model.budget import Budget, BudgetedReply, thought_of
from model.dialects import dialect
from model.engine import Engine, EngineInfo, Finish, Sampling
from model.format import Mode, Reply, ThinkRequest
from model.prompt import Message

_PATIENCE = 1_800.0
"""Seconds that a reply may take where the task sets no limit; our choice."""
_CHECK = 30.0
"""Seconds that the check may take; our choice."""
_PINNED = Policy((pinned_mode,))
"""Only the mode that is measured decides, whatever words the prompt may have."""
_REPLY = ".kat-reply"
_SAID = 200


@dataclass(frozen=True, slots=True)
class _Answer:
    """A reply, what it cost, and what went wrong with the stream, if anything did."""

    reply: Reply
    tokens: Tokens
    broken: str = ""


async def answer_task(task: Task, think: ThinkRequest, engine: Engine, settings: Settings, sandbox: Sandbox) -> Outcome:
    """Ask a task's prompt and judge the reply.

    Raises:
        UserError: the prompt cannot be read, or the check cannot be run.
        EngineError: the engine does not answer.
    """
    started = time.monotonic()
    prompt = await asyncio.to_thread(_prompt, task)
    try:
        async with asyncio.timeout(task.timeout_s or _PATIENCE):
            answer = await _asked(prompt, think, engine, settings)
    except TimeoutError:
        spent = time.monotonic() - started
        return Outcome(False, "unsolved", "no reply came within the time limit", seconds=round(spent, 3))
    solved, said = (False, answer.broken) if answer.broken else await judged(task, answer.reply.answer, sandbox)
    return Outcome(
        solved,
        ERROR if answer.broken else ("solved" if solved else "unsolved"),
        said,
        answer.tokens,
        round(time.monotonic() - started, 3),
        steps=int(answer.reply.mode is not None),
        thought=int(answer.reply.mode is Mode.ON),
    )


async def judged(task: Task, reply: str, sandbox: Sandbox) -> tuple[bool, str]:
    """Whether the task's check accepts a reply, and the last line that it printed. The check has no network.

    Raises:
        UserError: it cannot be run.
    """
    with private_folder() as folder:
        place = folder / task.id
        await asyncio.to_thread(_lay, task.folder, place, reply)
        confined = replace(sandbox, repository=place.resolve(), network=False, write=())
        command = f"exec {shlex.quote(sys.executable)} -B {task.check.name} < {_REPLY}"
        result = await confined.run(command, timeout=_CHECK)
    if result.timed_out:
        return False, f"the check did not end within {_CHECK:g} seconds"
    lines = result.output.strip().splitlines() or [""]
    return result.exit_code == 0, lines[-1][:_SAID]


async def _asked(prompt: str, think: ThinkRequest, engine: Engine, settings: Settings) -> _Answer:
    info = await engine.info()
    spoken, sampling = dialect(info.dialect), _sampling(info, settings)
    budget = Budget(settings.judge_budget, thought_of(sampling.max_tokens, settings.think_budget))
    decision = _PINNED.decide(Situation("", think, 0))
    rendered = spoken.render([Message("user", prompt)], (), decision.request, decision.why)
    reading = BudgetedReply(engine, spoken, rendered, sampling, budget)
    async with aclosing(reading.deltas()) as deltas:
        async for _ in deltas:
            pass
    broken = (reading.error or "the stream broke off") if reading.finish is Finish.CUT else ""
    return _Answer(reading.reply, tokens_of(reading.usage, reading.weights), broken)


def _sampling(info: EngineInfo, settings: Settings) -> Sampling:
    draws = EMBEDDED_DRAWS if info.name == "embedded" else DRAWS
    return sampling_of(settings, info.model, draws.temperature, draws.reply_tokens)


def _prompt(task: Task) -> str:
    try:
        return task.prompt.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{task.prompt} cannot be read: {error}") from None


def _lay(source: Path, place: Path, reply: str) -> None:
    shutil.copytree(source, place, symlinks=True, ignore=shutil.ignore_patterns(*SKIPPED))
    (place / _REPLY).unlink(missing_ok=True)  # it may be a link that leads out of the copy
    (place / _REPLY).write_text(reply, "utf-8", "surrogatepass")
