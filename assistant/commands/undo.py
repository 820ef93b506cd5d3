"""`kat undo`, `redo`, `restore` and `diff`: what a session changed, without an interface and without a model."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assistant import interrupts
from assistant.commands.opening import repository_root
from assistant.commands.options import HERE, Json, Repository
from assistant.config import state_dir
from assistant.errors import Exit, UserError
from assistant.events import Action, ApprovalAsked, Changes, Decision, Event, Notice, Restored, as_json

if TYPE_CHECKING:
    from assistant.undo import Undo
    from assistant.workspace.snapshots import Snapshots

Session = Annotated[
    str | None, typer.Option("--session", metavar="ID", help="else the last one that changed files here")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="overwrite what others changed since; redo brings it back")]


def undo(repo: Repository = HERE, session: Session = None, yes: Yes = False, json_: Json = False) -> int:
    """Take back the last step that changed files; again, the one before it."""
    return _restore("undo", 0, repo, session, yes=yes, json_=json_)


def redo(repo: Repository = HERE, session: Session = None, yes: Yes = False, json_: Json = False) -> int:
    """Do again what was undone last."""
    return _restore("redo", 0, repo, session, yes=yes, json_=json_)


def restore(
    step: Annotated[int, typer.Argument(help="the step; 0 is the beginning of the session", min=0)],
    repo: Repository = HERE,
    session: Session = None,
    yes: Yes = False,
    json_: Json = False,
) -> int:
    """Bring the files that the agent changed back to what they were behind a step."""
    return _restore("restore", step, repo, session, yes=yes, json_=json_)


def diff(
    first: Annotated[int | None, typer.Argument(metavar="[STEP]", help="this step alone", min=0)] = None,
    last: Annotated[int | None, typer.Argument(metavar="[STEP]", help="from behind the first to this", min=0)] = None,
    repo: Repository = HERE,
    session: Session = None,
    json_: Json = False,
) -> int:
    """The patch of all that the session changed, of one step, or from behind one step to behind another."""
    from assistant.restoring import changes

    async def talk(found: Undo) -> Exit:
        code = Exit.BAD_INPUT
        async for event in changes(found, first, last):
            _show(event, json_=json_)
            code = Exit.DONE if isinstance(event, Changes) else code
        return code

    with _opened(repo, session) as found:
        return interrupts.run(talk(found))


def _restore(action: Action, step: int, repo: Path, session: str | None, *, yes: bool, json_: bool) -> int:
    from assistant.restoring import restoring

    async def answer(asked: ApprovalAsked) -> tuple[Decision, str]:
        agreed = yes or await asyncio.to_thread(_confirmed, asked)
        return (Decision.ONCE if agreed else Decision.NO), ""

    async def talk(found: Undo) -> Exit:
        code = Exit.NOT_ACHIEVED
        async for event in restoring(found, action, step, answer):
            _show(event, json_=json_)
            if isinstance(event, Restored):
                code = Exit.DONE
        return code

    with _opened(repo, session) as found:
        return interrupts.run(talk(found))


def _show(event: Event, *, json_: bool) -> None:
    from assistant.safety.sanitize import sanitize

    match event:
        case _ if json_:
            print(json.dumps(as_json(event)), flush=True)
        case Restored():
            print(sanitize(event.sentence))
        case Changes(patch):
            sys.stdout.write(sanitize(patch) if sys.stdout.isatty() else patch)
        case Notice():
            print(f"kat: {event.text}", file=sys.stderr)
        case ApprovalAsked():
            print(f"{event.preview}\n{event.title}: {event.reason}.", file=sys.stderr)
        case _:
            pass


def _confirmed(asked: ApprovalAsked) -> bool:
    if not sys.stdin.isatty():
        print("kat: nobody can be asked here; --yes overwrites them", file=sys.stderr)
        return False
    return typer.confirm("Overwrite them?", err=True)


@contextmanager
def _opened(repo: Path, session: str | None) -> Iterator[Undo]:
    """The undo of a session of the repository, which nobody else may have open."""
    from assistant.sessions import Journal, read, sessions_dir
    from assistant.undo import Undo
    from assistant.workspace.snapshots import Snapshots, store_of

    root, state = repository_root(repo), state_dir(os.environ)
    snapshots = Snapshots(root, store_of(state, root))
    folder = sessions_dir(state)
    path = _named(folder, session, root) if session else _last_changing(folder, root, snapshots)
    journal = Journal.reopen(path)
    try:
        opened = Undo(snapshots, journal, read(journal.path))
        try:
            yield opened
        finally:
            opened.close()
    finally:
        journal.close()


def _named(folder: Path, session: str, root: Path) -> Path:
    from assistant.sessions import find, header

    path = find(folder, session)
    if (other := header(path)["repository"]) != str(root):
        raise UserError(f"session {path.stem} belongs to {other}; give that with --repo")
    return path


def _last_changing(folder: Path, root: Path, snapshots: Snapshots) -> Path:
    """The session that was written last of those that changed files here, or of all where none did."""
    from assistant.sessions import read
    from assistant.sessions.index import listed

    paths = [folder / f"{row.id}.jsonl" for row in listed(folder, repository=root)]
    if not paths:
        raise UserError(f"there is no session in {root} yet; `kat` or `kat ask` begins one")
    paths.sort(key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    for path in paths:
        if _changes_files(read(path), snapshots):
            return path
    return paths[0]


def _changes_files(records: Iterable[Mapping[str, Any]], snapshots: Snapshots) -> bool:
    """Whether a session has something to undo: a step that changed files, or one that broke off and may have."""
    broken_off: dict[str, str] = {}
    for record in records:
        match record["kind"]:
            case "changed" if snapshots.keeps(record["tree_after"]):
                return True
            case "intent" if record.get("tree"):
                broken_off[record["id"].partition(".")[0]] = record["tree"]
            case "step":
                broken_off.pop(str(record["record"]["index"]), None)
            case _:
                pass
    return any(map(snapshots.keeps, broken_off.values()))
