"""`kat sessions`: what was said and done, from the journals."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from assistant.commands.options import Allow, DialectName, Engine, Json, MaxSteps, Model, ProfileOption, Think
from assistant.config import state_dir
from assistant.errors import Exit, UserError

app = typer.Typer(help="The sessions on this machine.", no_args_is_help=True, rich_markup_mode=None)

Session = Annotated[str, typer.Argument(metavar="ID", help="the id, its first characters, its name, or last")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]


@app.command("list")
def list_sessions(
    words: Annotated[list[str] | None, typer.Argument(help="only those that speak of all of these")] = None,
    repo: Annotated[Path | None, typer.Option("--repo", metavar="DIR", help="only those of this repository")] = None,
    sub_agents: Annotated[bool, typer.Option("--sub-agents", help="those of sub-agents too")] = False,
    json_: Json = False,
) -> None:
    """The sessions, the latest first."""
    from assistant.safety.sanitize import sanitize
    from assistant.sessions.index import listed

    rows = listed(_folder(), " ".join(words or ()), None if repo is None else _root(repo), sub_agents=sub_agents)
    if json_:
        print(json.dumps([asdict(row) for row in rows]))
        return
    if not rows:
        print("No session is like that." if words or repo else "No sessions yet; `kat` or `kat ask` begins one.")
    for row in rows:
        name = f"[{row.name}]  " if row.name else ""
        print(sanitize(f"{row.id}  {row.steps:3} steps  {row.model}  {row.repository}  {name}{row.first_words}"))


@app.command("show")
def show_session(session: Session, json_: Json = False) -> None:
    """One session, from its journal; a step that was cut shows what is known of it."""
    from assistant.sessions import read, unfinished

    records = list(read(_path(session)))
    if json_:
        for record in records:
            print(json.dumps(record))
        return
    for record in records:
        _print(record)
    for call in unfinished(records):
        print(f"  {call.get('id')} {call.get('tool')}: unknown outcome (the session ended while it ran)")


@app.command("resume")
def resume_session(
    session: Session,
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    think: Think = None,
    profile: ProfileOption = None,
    max_steps: MaxSteps = None,
    allow: Allow = None,
) -> int:
    """Go on with a session in the terminal interface; `kat ask --resume ID PROMPT` does without one."""
    from assistant.commands.opening import checked_rules, resumed_session, settings_from
    from assistant.commands.terminal import open_terminal

    settings = settings_from(
        engine=engine, model=model, dialect=dialect, think=think, profile=profile, max_steps=max_steps
    )
    rules = checked_rules(allow)
    path, root = resumed_session(session, Path())
    return open_terminal(root, settings, rules, resumed=path)


@app.command("fork")
def fork_session(
    session: Session,
    at: Annotated[int | None, typer.Option("--at", metavar="STEP", help="leave out what came after this step")] = None,
    json_: Json = False,
) -> None:
    """A new session that has the past of another; the files in the repository stay as they are."""
    from assistant.sessions import fork

    path = fork(_folder(), _path(session), at)
    print(json.dumps({"id": path.stem}) if json_ else path.stem)


@app.command("rename")
def rename_session(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help='what to call it; "" takes its name away')],
    json_: Json = False,
) -> None:
    """Give a session a name, by which the other commands find it too."""
    from assistant.sessions import rename

    path = _path(session)
    kept = rename(path, name)
    if json_:
        print(json.dumps({"id": path.stem, "name": kept}))
        return
    print(f"{path.stem} is named {kept}" if kept else f"{path.stem} has no name")


@app.command("export")
def export_session(
    session: Session,
    form: Annotated[Literal["markdown", "jsonl"], typer.Option("--format", help="how")] = "markdown",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="a new file")] = None,
) -> None:
    """A session to read or to hand on; secrets and terminal control are taken out of it."""
    from assistant.config import load
    from assistant.safety.secrets import known_secrets
    from assistant.sessions import read, undamaged
    from assistant.sessions.export import as_jsonl, as_markdown

    records = list(read(path := _path(session)))
    known = known_secrets(load().api_key, os.environ)
    with undamaged(path):
        lines = as_jsonl(records, known)
        text = as_markdown(records, known) if form == "markdown" else "".join(f"{row}\n" for row in lines)
    data = text.encode("utf-8", "replace")
    if output is None:
        sys.stdout.buffer.write(data)
        return
    _write_new(output, data)
    print(f"Written to {output}", file=sys.stderr)


@app.command("rm")
def remove_sessions(
    sessions: Annotated[list[str], typer.Argument(metavar="ID…", help="ids, or their first characters")],
    yes: Yes = False,
    json_: Json = False,
) -> int:
    """Remove sessions for good; what they changed in repositories stays."""
    paths = [_path(session) for session in dict.fromkeys(sessions)]
    if not yes and not _confirmed(paths):
        return Exit.NOT_ACHIEVED
    return _remove(paths, json_=json_)


@app.command("prune")
def prune_sessions(
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="like 12h, 30d or 8w")] = "30d",
    keep: Annotated[int, typer.Option("--keep", metavar="N", min=0, help="keep so many in any case")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say which")] = False,
    json_: Json = False,
) -> int:
    """Remove the sessions that were not written for long; those that are open stay."""
    from assistant.sessions import age, prunable

    limit: timedelta = age(older_than)
    paths = prunable(_folder(), limit, keep)
    if dry_run:
        _say([path.stem for path in paths], "would be removed", json_=json_)
        return Exit.DONE
    return _remove(paths, json_=json_)


def _remove(paths: Sequence[Path], *, json_: bool) -> int:
    from assistant.sessions import remove, spawned

    done: list[str] = []
    try:
        for path in paths:
            agents = spawned(path.parent, path.stem)
            remove(path)
            done.append(path.stem)
            for agent in agents:
                remove(agent)
    except UserError:
        if done:
            _say(done, "removed", json_=json_)
        raise
    _say(done, "removed", json_=json_)
    return Exit.DONE


def _say(sessions: Sequence[str], what: str, *, json_: bool) -> None:
    if json_:
        print(json.dumps({what.split()[-1]: list(sessions)}))
        return
    for session in sessions:
        print(f"{session} {what}")
    if not sessions:
        print(f"No session {what}.")


def _confirmed(paths: Sequence[Path]) -> bool:
    names = ", ".join(path.stem for path in paths)
    if not sys.stdin.isatty():
        raise UserError(f"nobody can be asked here; --yes removes {names}")
    return typer.confirm(f"Remove {names} for good?", err=True)


def _write_new(path: Path, data: bytes) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
    except FileExistsError:
        raise UserError(f"{path} is there already; name another file") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def _root(path: Path) -> Path:
    """The repository at or above `path`, or the path itself where there is none any more."""
    from assistant.commands.opening import nearest_root

    try:
        return nearest_root(path)
    except UserError:
        return path.resolve()


def _folder() -> Path:
    from assistant.sessions import sessions_dir

    return sessions_dir(state_dir(os.environ))


def _path(session: str) -> Path:
    from assistant.sessions import find

    return find(_folder(), session)


def _print(record: dict[str, Any]) -> None:
    from assistant.safety.sanitize import sanitize

    try:
        lines = [sanitize(line) for line in _lines(record)]
    except (KeyError, TypeError, ValueError, AttributeError):
        lines = [sanitize(f"  (a damaged record of the kind {record['kind']})")]
    print("\n".join(lines), end="\n" * bool(lines))


def _lines(record: dict[str, Any]) -> Iterator[str]:
    match record["kind"]:
        case "session":
            yield f"{record['time']}  {record['repository']}  {record['engine']['model']}"
            yield from _origin(record)
        case "user" | "steer":
            yield f"\n> {record['text']}"
        case "reply" if record["answer"]:
            yield record["answer"]
        case "intent":
            yield f"  {record['id']} {record['tool']} {json.dumps(record['arguments'], ensure_ascii=False)[:100]}"
        case "result":
            yield f"  {record['id']} {record['outcome']}: {record['summary']}"
        case "step":
            yield _step(record["record"])
        case "restore":
            yield f"  {record['action']}: {', '.join(record['files'])}"
        case "finished":
            yield f"{record['status']}: {record['message']}".rstrip(": ")
        case _:
            yield from _besides(record)


def _origin(record: dict[str, Any]) -> Iterator[str]:
    if parent := record.get("parent"):
        yield f"forked from {parent}"
    if call := record.get("spawned_by"):
        yield f"a sub-agent of call {call}"


def _besides(record: dict[str, Any]) -> Iterator[str]:
    """What happens between replies and calls."""
    match record["kind"]:
        case "resumed":
            yield f"\nresumed with {record['engine']['model']}"
        case "renamed":
            yield f"named {record['name']}" if record["name"] else "the name was taken away"
        case "question":
            yield f"  asked: {record['question']}"
            yield f"  > {record['answer']}" if record["answer"] else "  (no answer)"
        case "note":
            yield f"  the model was told: {record['text']}"
        case "compacted":
            yield f"  made shorter for the model: {record['before']:,} to {record['after']:,} tokens"
        case "fork":
            yield f"  step {record['step']} was run again in the other mode"
        case "preference":
            yield f"  the {record['choice']} branch of step {record['step']} was liked better"
        case _:
            pass


def _step(step: dict[str, Any]) -> str:
    tokens = step["tokens"]
    cut = f" · cut: {step['cut']}" if step["cut"] else ""
    return (
        f"  step {step['index']}: think {step['mode'] or '?'} (asked {step['request']}, rule {step['rule']}) · "
        f"{tokens['prompt']} read, {tokens['judge']} judge, {tokens['think']} thought, {tokens['answer']} answer{cut}"
    )
