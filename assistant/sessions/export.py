"""A session as a document: Markdown that people read, or the records as they are, without secrets in either."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from assistant.safety.sanitize import sanitize
from assistant.safety.secrets import redact, redact_record

Record = Mapping[str, Any]
_LONG = 1
_FENCE = re.compile(r"`{3,}")


def as_jsonl(records: Iterable[Record], known: Sequence[str] = ()) -> Iterator[str]:
    """One line a record."""
    for record in records:
        yield json.dumps(redact_record(record, known), ensure_ascii=False)


def as_markdown(records: Sequence[Record], known: Sequence[str] = ()) -> str:
    """The conversation: messages, thinking folded, calls with their diffs and outcomes, how each run ended."""
    parts = [part for record in records for part in _parts(record)]
    return sanitize(redact("\n\n".join(parts), known)) + "\n"


def _parts(record: Record) -> Iterator[str]:
    match record["kind"]:
        case "session":
            yield from _title(record)
        case "user" | "steer":
            yield f"## You\n\n{_quoted(record['text'])}"
        case "reply":
            yield from _replied(record)
        case "approval":
            note = f": {record['note']}" if record.get("note") else ""
            yield f"*Call {record['id']} was answered with “{record['decision']}” by {record['by']}{note}.*"
        case "intent":
            yield from _called(record)
        case "result":
            yield from _result(record)
        case "restore":
            files = ", ".join(f"`{path}`" for path in record["files"]) or "nothing"
            yield f"*{record['action'].capitalize()} changed {files}.*"
        case "finished":
            yield f"*{record['status'].capitalize()}{': ' * bool(record['message'])}{record['message']}*\n\n---"
        case _:
            yield from _besides(record)


def _besides(record: Record) -> Iterator[str]:
    """What happens between replies and calls."""
    match record["kind"]:
        case "question":
            yield f"**{record['question']}**\n\n{_quoted(record['answer'] or 'No answer.')}"
        case "plan":
            yield "\n".join(f"- [{'x' if item['state'] == 'done' else ' '}] {item['text']}" for item in record["items"])
        case "compacted":
            lengths = f"{record['before']:,} to {record['after']:,} tokens"
            yield f"*The conversation was made shorter for the model: {lengths}.*"
            if record["summary"]:
                yield _folded("summary", record["summary"])
        case "fork":
            yield f"*Step {record['step']} was run again in the other mode.*"
        case _:
            pass


def _title(record: Record) -> Iterator[str]:
    rows = [
        f"- started: {record.get('time', '?')}",
        f"- repository: `{record['repository']}`",
        f"- model: {record['engine']['model']} ({record['engine']['name']})",
    ]
    if parent := record.get("parent"):
        step = record.get("parent_step")
        rows.append(f"- forked from {parent}{'' if step is None else f' behind step {step}'}")
    yield "# A session of KAT Pilot"
    yield "\n".join(rows)


def _replied(record: Record) -> Iterator[str]:
    mode = f"think {record['mode']}" if record["mode"] else "no mode chosen"
    yield f"## Step {record['step']} · {mode}"
    if record["judge"]:
        yield f"*{' '.join(record['judge'].split())}*"
    if record["think"]:
        yield _folded("thinking", record["think"].strip())
    if record["answer"]:
        yield record["answer"].strip()
    if record["cut"]:
        yield f"*The reply was cut: {record['cut']}.*"


def _called(record: Record) -> Iterator[str]:
    tool = record["tool"] or "a call that cannot be read"
    yield f"### Call {record['id']}: {tool}"
    if diff := record.get("diff"):
        path = record["arguments"].get("path")
        yield (f"`{path}`\n\n" if path else "") + _fenced(diff.rstrip("\n"), "diff")
    elif record["arguments"]:
        yield _fenced(json.dumps(record["arguments"], ensure_ascii=False, indent=2), "json")


def _result(record: Record) -> Iterator[str]:
    yield f"**{record['outcome']}**: {record['summary']}" if record["summary"] else f"**{record['outcome']}**"
    if record["output"].count("\n") >= _LONG or record["output"] != record["summary"]:
        yield _folded("output", _fenced(record["output"].rstrip("\n")))


def _folded(summary: str, text: str) -> str:
    inert = text if text.startswith("```") else text.replace("</details>", "&lt;/details&gt;")
    return f"<details><summary>{summary}</summary>\n\n{inert}\n\n</details>"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any in the text."""
    longest = max((len(found) for found in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
