"""Undo, redo and restore as a conversation: what would be lost is named and asked about first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from assistant.errors import UserError
from assistant.events import Action, ApprovalAsked, ApprovalGiven, Changes, Decision, Event, Notice, Restored, some
from assistant.safety.sanitize import sanitize
from assistant.undo import Plan, Undo
from assistant.workspace.repository import Repository

Ask = Callable[[ApprovalAsked], Awaitable[tuple[Decision, str]]]
"""Is called before the question is put, and what it returns waits for the answer."""


async def restoring(undo: Undo, action: Action, step: int, answer: Ask) -> AsyncGenerator[Event, None]:
    """Do it; the last event is `Restored`, or a `Notice` that says why nothing was done."""
    try:
        plan = await asyncio.to_thread(undo.plan, action, step)
        if plan.disputed:
            asked = await _question(undo, plan)
            waiting = answer(asked)
            yield asked
            decision, _ = await waiting
            yield ApprovalGiven(asked.step, asked.id, decision, "user")
            if decision is Decision.NO:
                yield Notice("info", "Nothing was changed.")
                return
        files = await asyncio.to_thread(undo.carry_out, plan)
    except (UserError, OSError) as error:
        yield Notice("error", sanitize(f"{error}"))
        return
    yield Restored(action, plan.step, files)


async def changes(undo: Undo, first: int | None, last: int | None) -> AsyncGenerator[Event, None]:
    """`Changes`, or a `Notice` that says why there are none."""
    try:
        yield Changes(await asyncio.to_thread(undo.diff, first, last))
        if first is None and (without := await asyncio.to_thread(undo.not_kept)):
            yield Notice(
                "info", sanitize(f"Not kept for undo: {some([f'{path} ({why})' for path, why in without.items()])}.")
            )
    except (UserError, OSError) as error:
        yield Notice("error", sanitize(f"{error}"))


async def committing(undo: Undo, message: str) -> AsyncGenerator[Event, None]:
    """Commit what the session changed; a `Notice` says what came of it."""
    try:
        paths = await asyncio.to_thread(undo.changed)
        commit = await asyncio.to_thread(Repository(undo.root).commit, message, paths)
    except (UserError, OSError) as error:
        yield Notice("error", sanitize(f"{error}"))
        return
    yield Notice("info", sanitize(f"Committed {some(paths)} as {commit[:10]}."))


async def _question(undo: Undo, plan: Plan) -> ApprovalAsked:
    preview = await asyncio.to_thread(undo.lost, plan)
    return ApprovalAsked(
        step=plan.step,
        id=f"{plan.action}.{plan.step}",
        tool=plan.action,
        title=sanitize(f"{plan.action.capitalize()} and overwrite what is new in {some(plan.disputed)}"),
        preview=sanitize(preview),
        preview_kind="diff",
        reason="you or another program may have changed it since; what is overwritten, redo brings back",
    )
