"""Puts a proven patch into the user's files, as the one step of a session of its own, so that `kat undo` knows it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from assistant.config import state_dir
from assistant.errors import UserError
from assistant.events import RunStatus
from assistant.records import CallOutcome, StepRecord
from assistant.sessions import Journal, sessions_dir
from assistant.undo import Undo
from assistant.workspace.git import environment, safe_options
from assistant.workspace.snapshots import Snapshots, store_of
from model.engine import EngineInfo
from model.format import Mode, Reply, ThinkRequest, ToolCall

_BY = EngineInfo("kat fix", "kat fix", "kat")
_CALL = ToolCall("apply_patch")
_ID = "1.1"


def apply_patch(patch: str, files: Sequence[str], root: Path, environ: Mapping[str, str]) -> None:
    """All of it or nothing, and never into the index or the history.

    Raises:
        UserError: it does not apply, or no snapshot can be made first.
    """
    state = state_dir(environ)
    snapshots = Snapshots(root, store_of(state, root))
    journal = Journal.create(sessions_dir(state), root, _BY)
    try:
        _step(Undo(snapshots, journal), journal, files, lambda: _git_apply(patch, root))
    except OSError as error:
        raise UserError(f"what was to be done could not be recorded: {error.strerror}") from None
    finally:
        snapshots.close()
        journal.close()


def _step(undo: Undo, journal: Journal, files: Sequence[str], act: Callable[[], None]) -> None:
    journal.append("user", text="kat fix --apply", think=ThinkRequest.OFF, notes=[])
    journal.append("reply", step=1, cut=None, why="", **asdict(Reply(mode=Mode.OFF, calls=(_CALL,), closed=True)))
    before = undo.begin(1, files)
    journal.append("intent", sync=True, id=_ID, tool=_CALL.name, arguments={}, tree=before.tree, paths=list(files))
    outcome, summary = "failed", "the patch does not apply"
    try:
        act()
        outcome, summary = "ok", "applied the patch"
    finally:
        said = {"ok": outcome == "ok", "summary": summary, "output": summary, "finish": False}
        journal.append("result", sync=True, id=_ID, outcome=outcome, **said)
        after = undo.end(1)
        calls = (CallOutcome(_ID, _CALL.name, {}, outcome, summary),)
        left = after.tree if after else None
        journal.step(
            StepRecord(
                1, ThinkRequest.OFF, "pinned", "", Mode.OFF, True, calls=calls, tree_before=before.tree, tree_after=left
            )
        )
        journal.append("finished", status=RunStatus.DONE if outcome == "ok" else RunStatus.FAILED, message=summary)


def _git_apply(patch: str, root: Path) -> None:
    done = subprocess.run(
        ["git", *safe_options(root), "apply", "--whitespace=nowarn", "-"],
        cwd=root,
        env=environment(),
        input=patch.encode("utf-8", "surrogateescape"),
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[:1]
        raise UserError(f"the files changed meanwhile and the patch does not apply: {''.join(reason)}")
