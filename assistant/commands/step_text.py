"""A step as text for people: tables and paragraphs, made inert, cut where they are long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from assistant.commands.figures import count, duration, share, table
from assistant.events import Forked
from assistant.records import Branch, CallOutcome, StepRecord
from assistant.safety.sanitize import sanitize

if TYPE_CHECKING:
    from assistant.explaining import Explanation
    from model.prompt import Message

_LINES = 12
"""Lines of a long text that are shown (our choice): the first half and the last."""
_MESSAGES = 4
"""Messages of the prompt that are shown, the last ones (our choice)."""


def described(found: Explanation, *, whole: bool) -> Iterator[RenderableType]:
    """A step: how it was decided, what was asked, what came, what became of it; its branches where it was forked."""
    record = found.record
    yield _head(f"Step {record.index} of session {found.session}, by {found.model}")
    yield _facts([("decided by", record.rule), ("because", record.why), *_modes(record), *_figures(record)])
    yield from _prompt(found, whole=whole)
    yield from _texts(found.branch, whole=whole)
    for approval in found.approvals:
        note = f": {approval.note}" if approval.note else ""
        yield _plain(f"Call {approval.call} was answered with “{approval.decision}” by {approval.by}{note}.")
    if found.forked is not None:
        yield from branches(found.forked, whole=whole)
        liked = f"The {found.preferred} branch is liked better." if found.preferred else "No branch is preferred yet."
        yield _plain(liked)


def branches(forked: Forked, *, whole: bool) -> Iterator[RenderableType]:
    """Both branches of a step: their figures side by side, then what the other one said and did."""
    rows = zip(_compared(forked.original), _compared(forked.other), strict=True)
    lines = [(name, one, other) for (name, one), (_, other) in rows]
    yield table(f"Step {forked.step} in both modes", ("", "original", "other"), lines)
    yield _head("The other branch")
    yield from _texts(forked.other, whole=whole)


def _modes(record: StepRecord) -> Iterator[tuple[str, str]]:
    """What was wanted, what the prompt asked, and what came back."""
    sent = record.sent or "not kept"
    came = record.mode or "none"
    yield "thinking", f"wanted {record.request}, sent {sent}, came back {came}{'' if record.obeyed else ': not obeyed'}"
    if not record.forced and record.judge.strip():
        yield "the model's judge", " ".join(record.judge.split())
    for each in record.interventions:
        yield "stepped in", f"{each.reason} at {each.tokens} tokens{f': {each.text}' if each.text else ''}"
    if record.fault:
        yield "fault", record.fault
    if record.cut:
        yield "cut", record.cut


def _figures(record: StepRecord) -> Iterator[tuple[str, str]]:
    tokens, seconds = record.tokens, record.seconds
    cached = share(tokens.cached / tokens.prompt if tokens.prompt else None)
    yield (
        "tokens",
        (
            f"{count(tokens.prompt)} read ({cached} cached), {count(tokens.judge)} judge, "
            f"{count(tokens.think)} thought, {count(tokens.answer)} answer"
        ),
    )
    prefill = max(0.0, seconds.first_token - seconds.queue)
    parts = {"queue": seconds.queue, "prefill": prefill, "decode": seconds.decode, "tools": seconds.tools}
    yield "time", ", ".join(f"{name} {duration(value)}" for name, value in parts.items())


def _prompt(found: Explanation, *, whole: bool) -> Iterator[RenderableType]:
    prompt = found.prompt
    shown = prompt.messages if whole else prompt.messages[-_MESSAGES:]
    tokens = found.record.tokens.prompt
    counted = f"{count(tokens)} tokens by the engine's count" if tokens else "the engine counted no tokens"
    yield _head(f"Prompt: {len(prompt.messages)} messages, {len(prompt.tools)} tools, {counted}")
    if left := len(prompt.messages) - len(shown):
        yield _plain(f"… {left} earlier messages; --whole shows them")
    for message in shown:
        yield _plain(f"[{message.role}, {len(message.content)} characters]")
        yield _block(_message(message), whole=whole)
    if prompt.opening.text:
        yield _plain("[the reply was opened with]")
        yield _block(prompt.opening.text, whole=True)


def _message(message: Message) -> str:
    calls = [f"→ {call.name} {call.arguments}" for call in message.calls]
    return "\n".join([*([message.content] if message.content else []), *calls])


def _texts(branch: Branch, *, whole: bool) -> Iterator[RenderableType]:
    """What a branch thought, said, did and changed."""
    for title, text in (("Thought", branch.thought), ("Answer", branch.answer)):
        if text.strip():
            yield _head(title)
            yield _block(text.strip(), whole=whole)
    outputs = [*branch.outputs, *[""] * len(branch.record.calls)]
    for call, output in zip(branch.record.calls, outputs, strict=False):
        yield _head(f"Call {call.id}: {_called(call)}")
        yield _block(output, whole=whole)
    if branch.patch:
        yield _head("Changes")
        yield _block(branch.patch, whole=whole)


def _called(call: CallOutcome) -> str:
    summary = f" ({call.summary})" if call.summary else ""
    return f"{call.tool or 'a call that cannot be read'} {call.outcome}{summary}, {duration(call.seconds)}"


def _compared(branch: Branch) -> Iterator[tuple[str, str]]:
    record = branch.record
    yield "came back", str(record.mode or "none")
    for name in ("judge", "think", "answer"):
        yield f"{name} tokens", count(getattr(record.tokens, name))
    yield "time to write", duration(record.seconds.decode)
    outcomes = Counter(call.outcome for call in record.calls)
    yield "calls", ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items()) or "–"
    lines = branch.patch.splitlines()
    added = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    taken = sum(line.startswith("-") and not line.startswith("---") for line in lines)
    yield "lines changed", f"+{added} -{taken}"


def _facts(rows: list[tuple[str, str]]) -> RenderableType:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        if value:
            grid.add_row(Text(name, style="dim"), Text(sanitize(value)))
    return grid


def _head(text: str) -> Text:
    return Text(f"\n{sanitize(text)}", style="bold")


def _plain(text: str) -> Text:
    return Text(sanitize(text))


def _block(text: str, *, whole: bool) -> RenderableType:
    """An indented text; a long one keeps its head and tail."""
    lines = sanitize(text).expandtabs(4).splitlines()
    if not whole and len(lines) > _LINES:
        half = _LINES // 2
        lines = [*lines[:half], f"… {len(lines) - 2 * half} lines; --whole shows them", *lines[-half:]]
    return Padding(Text("\n".join(lines), overflow="fold"), (0, 0, 0, 2), expand=False)
