"""The line strategy, for small models: one line of a suspect function is written anew, many times over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from assistant.fix.changes import Changes
from assistant.fix.rewriting import Rewriting, rewriting
from assistant.fix.stages import Attempt, Localisation, Reproduction
from assistant.records import Tokens
from assistant.testing.paths import is_test_file
from assistant.workspace.files import Workspace
from model.batch import Samples, sample
from model.catalog import parameters_of
from model.dialects import dialect
from model.engine import Engine, EngineInfo, Finish, Sampling, Usage
from model.format import ThinkRequest
from model.line import PARTS, TOKENS, LineEdit, LineTask, grammar, read, render

SMALL = 3_000_000_000
"""Parameters below which single lines are tried first; our choice."""
PLACES = 3
"""Functions that lines are drawn for; our choice."""
LONGEST = 60
"""Lines of a function that are shown; of a longer one, those around its most suspect line. Our choice."""
AROUND = 10
"""Lines shown on each side of a suspect line that stands in no function; our choice."""
SUSPECTS = 5
"""Lines of one place that may be written anew; our choice."""
LINES = 6
"""Lines that are drawn for; our choice."""
TEMPERATURE = 1.0
"""At which SmolLM2-135M changes a part of a line and not all of it; below, it hardly varies."""
_WIDEST = 300
"""Characters that are shown of a line of output; our choice."""
_FAILURE_LINES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Lines `first` to `last` of `path`, and those of them that are suspect, most suspect first."""

    path: str
    first: int
    last: int
    suspects: tuple[int, ...] = ()


def is_small(info: EngineInfo) -> bool:
    """Whether an engine's model has under 3,000,000,000 parameters; one that does not say is not small."""
    parameters = parameters_of(info.model)
    return parameters is not None and parameters < SMALL


async def line_attempts(
    engine: Engine,
    workspace: Workspace,
    found: Reproduction,
    where: Localisation,
    *,
    samples: int,
    tokens: int | None = None,
    seed: int = 0,
    issue: str = "",
) -> AsyncGenerator[Attempt, None]:
    """Attempts that change one line each, those drawn most often first; none twice, and none that cannot compile.

    `samples` are drawn in all, and at most `tokens` written. What a wave of samples took is on its first attempt.
    Raises `EngineError`.
    """
    spent, unsaid, seen = 0, Tokens(), set[str]()
    targets = await asyncio.to_thread(_targets, workspace, found, where, issue)
    continues = (await engine.info()).continues
    shots = _shots(targets, where, samples, seed) if continues else _chosen(targets, samples, seed)
    for shot in shots:
        count = shot.count if tokens is None else min(shot.count, (tokens - spent) // TOKENS)
        if count < 1:
            continue
        drawn, edits = await _drawn(engine, shot, count)
        spent, unsaid = spent + drawn.usage.completion, unsaid + _tokens(drawn.usage)
        for attempt in await asyncio.to_thread(_attempts, shot, edits, seen):
            yield replace(attempt, tokens=unsaid)
            unsaid = Tokens()
    if unsaid.prompt:
        yield Attempt("line", Changes(), "No further line that was drawn compiles and changes anything.", tokens=unsaid)


@dataclass(frozen=True, slots=True)
class _Target:
    """A place as it is shown, and the file that it is in."""

    file: Rewriting
    task: LineTask


@dataclass(frozen=True, slots=True)
class _Shot:
    """Samples to draw from one prompt; with `at`, for that line alone, and with `part` for that part of it."""

    target: _Target
    sampling: Sampling
    count: int
    at: int | None = None
    part: int | None = None

    @property
    def task(self) -> LineTask:
        """What is asked."""
        return self.target.task if self.at is None else replace(self.target.task, suspects=(self.at,))


def places(where: Localisation) -> list[Place]:
    """What is shown: functions that hold the most suspect lines, then suspect functions, no more than `PLACES`."""
    functions = [Place(f.path, f.first, f.last) for f in where.functions]
    around = [_holding(functions, line.path, line.line) for line in where.lines]
    chosen = list(dict.fromkeys(place for place in (*around, *functions) if not is_test_file(place.path)))[:PLACES]
    return [_shown(place, [s.line for s in where.lines if s.path == place.path]) for place in chosen]


def failure_of(output: str) -> str:
    """The first failing assertion in the output of tests, as pytest shows it; else the last lines there are."""
    lines = [line[:_WIDEST] for line in output.splitlines() if line.strip()]
    first = next((index for index, line in enumerate(lines) if line.startswith("E  ")), None)
    if first is None:
        return "\n".join(lines[-_FAILURE_LINES:])
    above = lines[max(0, first - LONGEST) : first]
    asked = next((line for line in reversed(above) if line.startswith(">")), above[-1] if above else "")
    said = takewhile(lambda line: line.startswith("E  "), lines[first : first + _FAILURE_LINES])
    return "\n".join([asked.lstrip("> "), *said]).strip()


def _holding(functions: Sequence[Place], path: str, line: int) -> Place:
    """The innermost function around a line, else the lines around it."""
    inside = [place for place in functions if place.path == path and place.first <= line <= place.last]
    return min(inside, key=lambda f: f.last - f.first, default=Place(path, max(1, line - AROUND), line + AROUND))


def _shown(place: Place, suspects: Sequence[int]) -> Place:
    """The place, cut to what is shown of it, with its own suspects."""
    own = [line for line in suspects if place.first <= line <= place.last]
    if place.last - place.first >= LONGEST:
        middle = own[0] if own else place.first
        first = max(place.first, min(middle - LONGEST // 2, place.last - LONGEST + 1))
        place = replace(place, first=first, last=first + LONGEST - 1)
    own = [line for line in own if place.first <= line <= place.last]
    return replace(place, suspects=tuple(dict.fromkeys(own))[:SUSPECTS])


def _targets(workspace: Workspace, found: Reproduction, where: Localisation, issue: str) -> list[_Target]:
    failure, targets = failure_of(found.before.output), []
    for place in places(where):
        file = rewriting(workspace, place.path)
        if file is not None:
            lines = file.lines[place.first - 1 : place.last]
            task = LineTask(place.path, place.first, lines, failure, issue, place.suspects)
            targets.append(_Target(file, task))
    return [target for target in targets if target.task.offered]


def _shots(targets: Sequence[_Target], where: Localisation, samples: int, seed: int) -> Iterator[_Shot]:
    """For each suspect line the surest reply and then others: for the second half as many as for the first, and so on.

    The model is not left to choose the line: one that was never trained to names any.
    """
    aims = _aims(targets, where)
    whole = sum(1 / rank for rank in range(1, len(aims) + 1))
    for rank, (target, line) in enumerate(aims, 1):
        share = round(samples / rank / whole)
        for part in range(PARTS):
            count = share * (part + 1) // PARTS - share * part // PARTS
            yield _Shot(target, _sampling(0.0, seed), min(1, count), line, part)
            yield _Shot(target, _sampling(TEMPERATURE, seed + 1_000 * rank + 100 * part), count - 1, line, part)


def _aims(targets: Sequence[_Target], where: Localisation) -> list[tuple[_Target, int]]:
    """The lines that are drawn for, most suspect first; where none is suspect, the first ones of a function's body."""
    ranked = [
        (target, line.line)
        for line in where.lines
        for target in targets
        if target.task.path == line.path and line.line in target.task.suspects and line.line in target.task.offered
    ]
    bodies = [(target, line) for target in targets for line in target.task.offered[1:]]
    return list(dict.fromkeys(ranked or bodies))[:LINES]


def _chosen(targets: Sequence[_Target], samples: int, seed: int) -> Iterator[_Shot]:
    """For engines whose replies cannot be begun for them: the model chooses among the suspect lines of each place."""
    for rank, target in enumerate(targets, 1):
        share = round(samples * 2.0**-rank / (1 - 2.0 ** -len(targets)))
        yield _Shot(target, _sampling(TEMPERATURE, seed + 1_000 * rank), share)


def _sampling(temperature: float, seed: int) -> Sampling:
    return Sampling(temperature=temperature, max_tokens=TOKENS, seed=seed, stop=("\n",))


async def _drawn(engine: Engine, shot: _Shot, count: int) -> tuple[Samples, list[LineEdit]]:
    """The samples and the edits in those that came to their end."""
    prompt = render(shot.task, dialect((await engine.info()).dialect), shot.at)
    drawn = await sample(engine, prompt, shot.sampling, count, grammar(shot.task, shot.part))
    whole = (read(prompt, reply.text) for reply in drawn.replies if reply.finish is Finish.STOP)
    offered = shot.task.offered
    return drawn, [edit for edit in whole if edit is not None and edit.number in offered]


def _attempts(shot: _Shot, edits: Sequence[LineEdit], seen: set[str]) -> list[Attempt]:
    """Attempts that are new, most frequent first; what they mean is added to `seen`."""
    written = [(edit, shot.target.file.with_line(edit)) for edit in dict.fromkeys(edits)]
    votes: Counter[str] = Counter()
    first: dict[str, tuple[LineEdit, Changes]] = {}
    counts = Counter(edits)
    for edit, made in written:
        if made is not None and made.meaning not in seen:
            votes[made.meaning] += counts[edit]
            first.setdefault(made.meaning, (edit, made.changes))
    seen.update(first)
    return [_attempt(shot, *first[meaning], count, len(edits)) for meaning, count in votes.most_common()]


def _attempt(shot: _Shot, edit: LineEdit, changes: Changes, count: int, of: int) -> Attempt:
    said = f"Line {edit.number} of {shot.target.task.path}, drawn {count} of {of} times: {edit.text}"
    return Attempt("line", changes, said, ThinkRequest.OFF, shot.sampling.temperature)


def _tokens(usage: Usage) -> Tokens:
    return Tokens(prompt=usage.prompt, cached=usage.cached, answer=usage.completion)
