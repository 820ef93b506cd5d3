"""What `kat fix` did, from what failed to what proves that it is mended, as Markdown that people read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assistant.fix.inert import code, fenced
from assistant.fix.report import AttemptLine, FixReport, SuspectLine
from assistant.records import CallOutcome, StepRecord, Tokens
from model.format import Mode

_TITLES = {
    "fixed": "Fixed",
    "not_fixed": "Not fixed",
    "nothing_to_fix": "Nothing to fix",
    "error": "It could not be tried",
}
_TESTS = 30
_SUSPECTS = 10
_STEPS = 200
_CALLS = 12
_LONGEST = 200_000
"""Tests, suspects, steps, calls of a step and characters of a patch that are told (our choices)."""


def story(report: FixReport) -> str:
    """The report as Markdown: what failed, where it was looked, what was tried and how, the patch, the proof, the cost.

    Names, messages and output stand in code spans and blocks, whatever is in them.
    """
    parts = [f"# {_TITLES[report.status]}", code(report.message) if report.message.strip() else ""]
    for title, lines in _sections(report):
        if text := "\n".join(lines):
            parts.append(f"## {title}\n\n{text}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(report: FixReport) -> Iterator[tuple[str, Iterator[str]]]:
    yield "What failed", _failed(report)
    yield "Where it was looked", _suspects(report)
    yield "What was tried", _tried(report)
    yield "How it was done", _steps(report.steps)
    yield "The patch" if report.status == "fixed" else "The best attempt, which proves nothing", _patch(report)
    yield "The proof, and how to check it", _proof(report)
    yield "What it took", _cost(report)


def _failed(report: FixReport) -> Iterator[str]:
    if report.test_command:
        yield f"The tests ran with {code(report.test_command)}{_copies(report.views)}."
    if report.failed_before:
        yield from ("", f"{_count(len(report.failed_before), 'test')} failed:", "", *_listed(report.failed_before))
    if report.flaky:
        said = "came out differently on the same files, and counted for nothing:"
        yield from ("", f"{_count(len(report.flaky), 'test')} {said}", "", *_listed(report.flaky))
    if report.own_test:
        yield from ("", "No test showed the issue, so one was written first:", "", fenced(report.own_test, "diff"))


def _copies(views: str) -> str:
    return f", in copies of the repository ({code(views)}); its own files were only read" if views else ""


def _suspects(report: FixReport) -> Iterator[str]:
    if report.sources:
        yield from (f"Found by {', '.join(map(code, report.sources))}.", "")
    yield from (_suspect(number, line) for number, line in enumerate(report.suspects[:_SUSPECTS], 1))


def _suspect(number: int, line: SuspectLine) -> str:
    why = f": {', '.join(map(code, line.why))}" if line.why else ""
    return f"{number}. {code(f'{line.path}:{line.line}')} ({line.score:.2f}){why}"


def _tried(report: FixReport) -> Iterator[str]:
    yield from (_attempt(number, attempt) for number, attempt in enumerate(report.attempts, 1))


def _attempt(number: int, attempt: AttemptLine) -> str:
    warmth = "" if attempt.temperature is None else f", temperature {attempt.temperature:g}"
    times = f", proposed {attempt.count} times" if attempt.count > 1 else ""
    took = f"{_count(attempt.tokens.written, 'token')}, {attempt.seconds:.1f} s"
    files = f" in {', '.join(map(code, attempt.files))}" if attempt.files else ""
    outcome = "fixed" if attempt.fixed else "not fixed"
    how = f"{code(attempt.strategy)}, thinking {code(attempt.think)}{warmth}{times}"
    return (
        f"{number}. {how}: **{outcome}**{files} ({took}). {code(attempt.why) if attempt.why.strip() else ''}".rstrip()
    )


def _steps(steps: Sequence[StepRecord]) -> Iterator[str]:
    yield from (_step(number, record) for number, record in enumerate(steps[:_STEPS], 1))
    if len(steps) > _STEPS:
        yield from ("", f"{len(steps) - _STEPS:,} more steps are in the JSON report.")


def _step(number: int, record: StepRecord) -> str:
    mode = {Mode.ON: "thought", Mode.OFF: "did not think"}.get(record.mode) if record.mode else "chose no mode"
    why = " ".join(filter(None, [record.why, record.judge if not record.forced else ""]))
    reason = f" ({code(record.rule)}{f': {code(why)}' if why.strip() else ''})"
    seconds = record.seconds.first_token + record.seconds.decode + record.seconds.tools
    took = f"{_count(record.tokens.written, 'token')}, {seconds:.1f} s"
    calls = ", ".join(map(_call, record.calls[:_CALLS]))
    return f"{number}. {mode}{reason}, {took}{f': {calls}' if calls else ''}"


def _call(call: CallOutcome) -> str:
    return f"{code(call.tool or 'unreadable')} {code(call.outcome)}"


def _patch(report: FixReport) -> Iterator[str]:
    if not report.patch:
        return
    yield f"It changes {', '.join(map(code, report.files[:_TESTS]))}."
    if len(report.patch) > _LONGEST:
        yield from ("", f"It is {len(report.patch):,} characters long, so it stands in the JSON report alone.")
    else:
        yield from ("", fenced(report.patch, "diff"))


def _proof(report: FixReport) -> Iterator[str]:
    proof = report.receipt
    if proof is None:
        return
    yield f"- ran: {code(proof.command)}, exit code {proof.exit_code}"
    yield f"- on the files of git tree {code(proof.tree)}"
    yield f"- SHA-256 of what it printed: {code(proof.output_sha256)}"
    if report.failed_after:
        yield from ("", "What still failed then:", "", *_listed(report.failed_after))
    if report.status == "fixed" and report.patch:
        told = f"git apply fix.patch\ngit add --all && git write-tree  # {proof.tree}\n{proof.command}"
        yield from ("", "With the patch in `fix.patch`, on the files it was made for:", "", fenced(told, "sh"))


def _cost(report: FixReport) -> Iterator[str]:
    thought = sum(step.mode is Mode.ON for step in report.steps)
    yield f"- {report.seconds:.1f} s, {_count(report.candidates, 'attempt')}, {_count(len(report.steps), 'step')}"
    if report.steps:
        yield f"- thinking in {thought} of {_count(len(report.steps), 'step')}"
    yield f"- {_tokens(report.tokens)}"


def _tokens(tokens: Tokens) -> str:
    return (
        f"tokens: {tokens.prompt:,} read ({tokens.cached:,} cached), {tokens.judge:,} to judge, "
        f"{tokens.think:,} thought, {tokens.answer:,} answered"
    )


def _listed(names: Sequence[str]) -> list[str]:
    more = [f"- and {len(names) - _TESTS:,} more"] if len(names) > _TESTS else []
    return [*(f"- {code(name)}" for name in names[:_TESTS]), *more]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
