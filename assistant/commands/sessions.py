"""`kat sessions`: what was said and done, from the journals."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Annotated, Any

import typer

from assistant.commands.options import Json
from assistant.config import state_dir

app = typer.Typer(help="The sessions on this machine.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_sessions(json_: Json = False) -> None:
    """All sessions, the latest first."""
    from assistant.safety.sanitize import sanitize
    from assistant.sessions import sessions_dir, summaries

    rows = summaries(sessions_dir(state_dir(os.environ)))
    if json_:
        print(json.dumps([asdict(row) for row in rows]))
        return
    if not rows:
        print("No sessions yet; `kat` or `kat ask` begins one.")
    for row in rows:
        print(sanitize(f"{row.id}  {row.steps:3} steps  {row.model}  {row.repository}  {row.first_words}"))


@app.command("show")
def show_session(
    session: Annotated[str, typer.Argument(help="the id, or its first characters")], json_: Json = False
) -> None:
    """One session, from its journal; a step that was cut shows what is known of it."""
    from assistant.sessions import find, read, sessions_dir, unfinished

    records = list(read(find(sessions_dir(state_dir(os.environ)), session)))
    if json_:
        for record in records:
            print(json.dumps(record))
        return
    for record in records:
        _print(record)
    for record in unfinished(records):
        print(f"  {record['id']} {record['tool']}: unknown outcome (the session ended while it ran)")


def _print(record: dict[str, Any]) -> None:
    from assistant.safety.sanitize import sanitize

    line = _line(record)
    if line:
        print(sanitize(line))


def _line(record: dict[str, Any]) -> str | None:
    match record["kind"]:
        case "session":
            return f"{record['time']}  {record['repository']}  {record['engine']['model']}"
        case "user":
            return f"\n> {record['text']}"
        case "reply":
            return record["answer"] or None
        case "intent":
            return f"  {record['id']} {record['tool']} {json.dumps(record['arguments'], ensure_ascii=False)[:100]}"
        case "result":
            return f"  {record['id']} {record['outcome']}: {record['summary']}"
        case "step":
            return _step(record["record"])
        case "finished":
            return f"{record['status']}: {record['message']}".rstrip(": ")
        case _:
            return None


def _step(step: dict[str, Any]) -> str:
    tokens = step["tokens"]
    cut = f" · cut: {step['cut']}" if step["cut"] else ""
    return (
        f"  step {step['index']}: think {step['mode'] or '?'} (asked {step['request']}, rule {step['rule']}) · "
        f"{tokens['prompt']} read, {tokens['judge']} judge, {tokens['think']} thought, {tokens['answer']} answer{cut}"
    )
