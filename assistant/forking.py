"""Runs a recorded step again in the other mode, side by side: from the same conversation and files, in a copy.

The copy is thrown away; the user's files are only read. In it the model may edit as it likes, and run commands where
the sandbox keeps them to it; nothing is asked, and nothing outside is reached. What came of it, and which branch the
user likes better, goes into the journal: these are examples to learn from.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from assistant.calling import CallRunner
from assistant.draft import Draft
from assistant.errors import UserError
from assistant.events import CallFinished, Event, Forked, Notice
from assistant.explaining import Explanation, before, explain, state_digest, transcript_before
from assistant.fix.copy import DEPENDENCIES, WorkingCopy, working_copy
from assistant.records import Branch, Choice, StepRecord
from assistant.safety.permissions import Permissions
from assistant.safety.sandbox import Sandbox
from assistant.safety.sanitize import sanitize
from assistant.sessions import Journal, read, undamaged
from assistant.sessions.replay import whole_output
from assistant.step import StepRunner
from assistant.stopping import Stopped
from assistant.think import Policy, ThinkDecision
from assistant.tools.base import NoHost, Tool, ToolContext, ToolError
from assistant.tools.registry import TOOLS
from assistant.trail import Trail
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace
from assistant.workspace.restore import restore_files
from assistant.workspace.seen import Seen
from assistant.workspace.snapshots import Snapshots
from assistant.workspace.text import digest
from model.engine import EngineError
from model.format import Mode, ThinkRequest, ToolCall

Record = Mapping[str, Any]
RULE = "fork"
_KEPT = ("think", "original_model", "model", "state_sha256", "original", "other")
"""What a preference has from its fork, so that each can be read alone."""
_WHY = {
    ThinkRequest.ON: "The user wants to see this step with a thought.",
    ThinkRequest.OFF: "The user wants to see this step without a thought.",
    ThinkRequest.AUTO: "The user wants to see this step once more.",
}


async def forking(runner: StepRunner, step: int, think: ThinkRequest) -> AsyncGenerator[Event, None]:
    """Run step `step` of the runner's session again; AUTO means the mode that it did not have.

    The last event is `Forked`, or a `Notice` that says why there is none. The engine is asked, so nothing else may run.
    """
    runner.stop.clear()
    try:
        records = await asyncio.to_thread(lambda: list(read(runner.journal.path)))
        with undamaged(runner.journal.path):
            found = explain(runner.journal.session, records, step)
        asked = other_mode(found.record) if think is ThinkRequest.AUTO else think
        tree = tree_before(records, found.record)
        yield Notice("info", _said(found.record, asked, tree))
        if found.model != runner.info.model:
            yield Notice("warning", f"Step {step} was by {found.model}; {runner.info.model} runs it again.")
        try:
            state, other = await _other(runner, found, records, tree, asked)
        except Stopped:  # before the model was asked
            runner.stop.set()
        if runner.stop.is_set():
            yield Notice("info", f"Stopped; step {step} was not run again.")
            return
        original = replace(found.branch, patch=await asyncio.to_thread(_original_patch, runner, found))
        _keep(runner, found, asked, state, original, other)
    except (UserError, EngineError, OSError) as error:
        yield Notice("error", sanitize(f"{error}"))
        return
    yield Forked(step, original, other)


async def preferring(journal: Journal, step: int, choice: Choice) -> AsyncGenerator[Event, None]:
    """Keep which branch of a forked step the user likes better; a `Notice` says that it is kept, or why it is not."""
    try:
        records = await asyncio.to_thread(lambda: list(read(journal.path)))
        found = next((each for each in reversed(records) if each["kind"] == "fork" and each["step"] == step), None)
        if found is None:
            raise UserError(f"step {step} was not run again yet; fork it first")
        kept = {name: found[name] for name in _KEPT}
        journal.append("preference", sync=True, step=step, choice=choice, fork=found["n"], **kept)
    except (UserError, OSError) as error:
        yield Notice("error", sanitize(f"{error}"))
        return
    yield Notice("info", f"Kept: of step {step}, the {_named(choice, found)} branch is better.")


def other_mode(record: StepRecord) -> ThinkRequest:
    """The mode that a step did not have; on where it had none."""
    return ThinkRequest.OFF if record.mode is Mode.ON else ThinkRequest.ON


def tree_before(records: Sequence[Record], record: StepRecord) -> str | None:
    """The snapshot of the files as they were before a step; None where the session had changed nothing up to now.

    A step that changed nothing itself has the files of the last snapshot before it, or of the first one behind.
    """
    if record.tree_before:
        return record.tree_before
    states: dict[int, str] = {}
    last: str | None = None
    past = before(records, record.index)
    for each in past:
        last = _tree_of(each, states) or last
    later = (_tree_of(each, states) for each in records[len(past) :] if each["kind"] in ("intent", "changed"))
    return last or next((tree for tree in later if tree), None)


def _tree_of(record: Record, states: dict[int, str]) -> str | None:
    """The tree that the files are in behind this record, if it says so. `states` are the trees behind steps."""
    match record["kind"]:
        case "intent" if record.get("tree"):
            return str(record["tree"])
        case "changed":
            states.setdefault(0, str(record["tree_before"]))
            states[record["step"]] = str(record["tree_after"])
            return states[record["step"]]
        case "restored":
            return states.get(record["target"])
        case _:
            return None


async def _other(
    runner: StepRunner, found: Explanation, records: Sequence[Record], tree: str | None, think: ThinkRequest
) -> tuple[str, Branch]:
    """The digest of what the model was asked, but for the mode, and what came of it."""
    async with _copy(runner, tree) as copy:
        bench = await asyncio.to_thread(_bench, runner, found, records, copy)
        try:
            return await bench.run(found.record.index, think)
        finally:
            await bench.close()


@dataclass(slots=True)
class _Alone(NoHost):
    """Nobody is around, but what was put out before can be read."""

    journal: Path

    def whole_output(self, call: str) -> str | None:
        """From the session's journal."""
        return whole_output(self.journal, call)


@dataclass(slots=True)
class _Bench:
    """A step runner in the copy; `outputs` is what the model reads of its calls."""

    copy: WorkingCopy
    runner: StepRunner
    outputs: list[str]

    async def run(self, step: int, think: ThinkRequest) -> tuple[str, Branch]:
        """One step, the reply and its calls, behind the digest of its state."""
        draft = Draft(step, ThinkDecision(think, RULE, _WHY[think]))
        state = state_digest(self.runner.prompt(draft))
        await self.runner.reply(draft)
        for number in range(len(draft.reply.calls)):
            self.runner.gate(draft, number)
            await self.runner.act(draft)
        await self.runner.tools.jobs.stop_all()
        record = await self.runner.finish(draft)
        patch = await asyncio.to_thread(self.copy.patch)
        return state, Branch(record, draft.reply.think, draft.reply.answer, tuple(self.outputs), patch)

    async def close(self) -> None:
        """End what still runs in the copy."""
        await self.runner.tools.jobs.stop_all()
        self.runner.journal.close()


def _bench(runner: StepRunner, found: Explanation, records: Sequence[Record], copy: WorkingCopy) -> _Bench:
    outputs: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, CallFinished):
            outputs.append(event.output)

    tools = _tools(runner, found, records, copy)
    contains = tools.sandbox.contains
    calling = CallRunner(
        tools=tools,
        read=_of_ours(runner.calling.read),
        permissions=Permissions(("edit", "command") if contains else ("edit",), interactive=False, sandboxed=contains),
        journal=Journal.create(copy.root.parent / "journal", copy.root, runner.info, known=runner.journal.known),
        undo=None,
        policy=Policy(holds=frozenset()),
        trail=Trail(tools.workspace),
        stop=runner.stop,
        emit=listen,
    )
    second = replace(
        runner,
        calling=calling,
        transcript=transcript_before(records, found.record.index),
        compactor=runner.compactor.offering(runner.specs),
        steered=[],
        emit=listen,
    )
    return _Bench(copy, second, outputs)


def _tools(runner: StepRunner, found: Explanation, records: Sequence[Record], copy: WorkingCopy) -> ToolContext:
    """The same tools in the copy: the model knows the files that it had read, and nobody is around."""
    tools, workspace = runner.tools, Workspace(copy.root)
    return replace(
        tools,
        workspace=workspace,
        sandbox=_sandbox(tools.sandbox, copy.root),
        seen=_seen(workspace, before(records, found.record.index)),
        host=_Alone(runner.journal.path),
        jobs=type(tools.jobs)(),
        repo_map=None,
        network=False,
    )


def _sandbox(sandbox: Sandbox, root: Path) -> Sandbox:
    """The sandbox, closed around the copy: nothing outside may be written, and no network reached."""
    original = sandbox.repository
    shown = tuple((original / name, root / name) for name in DEPENDENCIES if (original / name).is_dir())
    closed = replace(sandbox, repository=root.resolve(), shown=shown, network=False, write=())
    return closed if not closed.overlay or closed.works() else replace(closed, overlay=False)


def _seen(workspace: Workspace, records: Sequence[Record]) -> Seen:
    """What the model knows: the files that calls named, as they are now."""
    seen = Seen()
    named = (each["arguments"].get("path") for each in records if each["kind"] == "intent")
    for path in {each for each in named if isinstance(each, str)}:
        with suppress(WorkspaceError):
            seen.wrote(workspace.relative(path), digest(workspace.read_bytes(path)[0]))
    return seen


def _of_ours(read_call: Callable[[ToolCall], Tool]) -> Callable[[ToolCall], Tool]:
    """Reads calls of our own tools; others could change things outside the copy."""

    def checked(call: ToolCall) -> Tool:
        tool = read_call(call)
        if type(tool) not in TOOLS:
            raise ToolError(f"{call.name} reaches outside the copy that this step is tried in; do without it.")
        return tool

    return checked


@asynccontextmanager
async def _copy(runner: StepRunner, tree: str | None) -> AsyncIterator[WorkingCopy]:
    """The repository's files as they were in `tree`, or as they are, in a folder that is gone afterwards."""
    with ExitStack() as stack:
        try:
            copy = await asyncio.to_thread(stack.enter_context, working_copy(runner.tools.workspace))
            if tree is not None:
                await asyncio.to_thread(_set_back, copy, _snapshots(runner), tree)
            yield copy
        finally:
            await asyncio.to_thread(stack.close)


def _snapshots(runner: StepRunner) -> Snapshots:
    if runner.undo is None:
        raise UserError("this session keeps no snapshots, so the files cannot be brought back to that step")
    return runner.undo.snapshots


def _set_back(copy: WorkingCopy, snapshots: Snapshots, tree: str) -> None:
    """Make the copy, which has the files as they are now, what they were in `tree`; patches are against that."""
    if not snapshots.keeps(tree):
        raise UserError("the snapshot of the files before this step is no longer kept, so it cannot be run again")
    now, then = snapshots.files(snapshots.take().tree), snapshots.files(tree)
    here = {path for path in {*now, *then} if os.path.lexists(copy.root / path)}
    differing = {path for path in {*now, *then} if now.get(path) != then.get(path) or (path in then) != (path in here)}
    ours = {path for path in differing if set(DEPENDENCIES).isdisjoint(path.split("/"))}
    wanted = {path: then.get(path) for path in ours}
    restore_files(copy.root, wanted, {path: now.get(path) if path in here else None for path in ours}, snapshots)
    copy.begin()


def _original_patch(runner: StepRunner, found: Explanation) -> str:
    """What the step changed, by the snapshots around it; else what its calls were planned to change."""
    first, last = found.record.tree_before, found.record.tree_after
    if runner.undo is not None and first and last:
        snapshots = runner.undo.snapshots
        if snapshots.keeps(first) and snapshots.keeps(last):
            return snapshots.diff(first, last)
    return found.patch


def _keep(
    runner: StepRunner, found: Explanation, think: ThinkRequest, state: str, original: Branch, other: Branch
) -> None:
    """Write both branches down, with what they have in common: training data that needs nothing else."""
    runner.journal.append(
        "fork",
        sync=True,
        step=found.record.index,
        think=think,
        original_model=found.model,
        model=runner.info.model,
        state_sha256=state,
        original=asdict(original),
        other=asdict(other),
    )


def _said(record: StepRecord, think: ThinkRequest, tree: str | None) -> str:
    """What is about to happen."""
    files = "the files as they were before it" if tree else "the files as they are now, since this session changed none"
    return f"Running step {record.index} again with thinking {think}, in a throw-away copy with {files}."


def _named(choice: Choice, fork: Record) -> str:
    branch = fork[choice]["record"]
    return f"{choice} (think {branch['mode'] or 'unknown'})"
