"""How a session begins: new, or where an earlier one ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.context import ProfileName, Transcript
from assistant.errors import UserError
from assistant.events import Event, Notice
from assistant.sessions.journal import Journal, header, read, undamaged
from assistant.sessions.replay import events, mending, next_step, transcript
from model.engine import EngineInfo

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Prefix:
    """What every prompt of a session begins with. `first` is what the user's first message is put into."""

    system: str
    first: str
    profile: ProfileName


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a session begins with. `step` is the index of its next step.

    `history` is what was said before, `notices` what of it is news; `notes` is what the model must hear first.
    """

    journal: Journal
    transcript: Transcript
    profile: ProfileName
    records: tuple[Mapping[str, Any], ...] = ()
    history: tuple[Event, ...] = ()
    notices: tuple[Notice, ...] = ()
    notes: tuple[str, ...] = ()
    step: int = 1


def begin(
    directory: Path,
    repository: Path,
    info: EngineInfo,
    prefix: Prefix,
    known: Sequence[str],
    notices: tuple[Notice, ...] = (),
) -> Beginning:
    """A new session, whose journal lies in `directory`; `notices` are what the user should know of it.

    Raises:
        UserError: it cannot be written.
    """
    journal = Journal.create(directory, repository, info, known=known)
    _keep_prefix(journal, prefix)
    return Beginning(journal, Transcript(prefix.system, prefix.first), prefix.profile, history=notices, notices=notices)


def resume(path: Path, repository: Path, info: EngineInfo, prefix: Prefix, known: Sequence[str]) -> Beginning:
    """The session whose journal is `path`, gone on with. What broke off in it is closed first.

    The prompt keeps its old beginning, byte by byte, as long as the model is the same; `prefix` is for another one.

    Raises:
        UserError: it is open elsewhere, belongs to another repository, or cannot be read or written.
    """
    journal = Journal.reopen(path, known=known)
    try:
        with undamaged(path):
            return _resumed(journal, repository, info, prefix)
    except BaseException:
        journal.close()
        raise


def repository_of(path: Path) -> Path:
    """The repository that a session belongs to.

    Raises:
        UserError: it is gone.
    """
    root = Path(header(path)["repository"])
    if not (root / ".git").exists():
        raise UserError(f"{root}, the repository of session {path.stem}, is gone; put it back to go on there")
    return root


def _resumed(journal: Journal, repository: Path, info: EngineInfo, prefix: Prefix) -> Beginning:
    first = header(journal.path)
    if first["repository"] != str(repository):
        raise UserError(f"session {journal.session} belongs to {first['repository']}, not to {repository}; go there")
    records: list[Mapping[str, Any]] = list(read(journal.path))
    before = len(list(events(records)))
    closing = list(mending(records))
    notes = tuple(_notes(records))
    was = _model(records)
    for kind, fields in closing:
        journal.append(kind, sync=True, **fields)
    journal.append("resumed", sync=True, engine={"name": info.name, "model": info.model})
    if was != info.model or (kept := _prefix(records)) is None:
        kept = prefix
        _keep_prefix(journal, prefix)
    records = list(read(journal.path))
    told = list(events(records))
    notices = [event for event in told[before:] if isinstance(event, Notice)]
    changed = [Notice("info", f"This session had {was} so far; it goes on with {info.model}.")] * (was != info.model)
    return Beginning(
        journal,
        transcript(records, kept.system, kept.first),
        kept.profile,
        tuple(records),
        (*told, *changed),
        (*notices, *changed),
        notes,
        next_step(records),
    )


def _keep_prefix(journal: Journal, prefix: Prefix) -> None:
    try:
        journal.append("prompt", system=prefix.system, first=prefix.first, profile=prefix.profile)
    except OSError as error:
        journal.close()
        raise UserError(f"the session cannot be written to {journal.path}: {error.strerror}") from None


def _prefix(records: Sequence[Mapping[str, Any]]) -> Prefix | None:
    kept = [record for record in records if record["kind"] == "prompt"]
    return Prefix(kept[-1]["system"], kept[-1]["first"], kept[-1]["profile"]) if kept else None


def _model(records: Sequence[Mapping[str, Any]]) -> str:
    """The model that was used last."""
    engines = [record["engine"] for record in records if record["kind"] in ("session", "resumed")]
    return str(engines[-1]["model"])


def _notes(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the user undid or restored since the model last heard of it."""
    last = max((n for n, record in enumerate(records) if record["kind"] == "user"), default=-1)
    heard = any(record["kind"] in ("reply", "steer") for record in records[last + 1 :])
    untold = [] if heard or last < 0 else records[last].get("notes", ())
    return [*untold] + [
        f"[The user used {record['action']} meanwhile; it changed {', '.join(record['files'][:_NAMED]) or 'nothing'}.]"
        for record in records[last + 1 :]
        if record["kind"] == "restore"
    ]
