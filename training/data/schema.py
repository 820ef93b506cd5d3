"""What is kept on disk between stages: sources, tasks, rollouts and samples; versioned, and the same bytes every time.

A `Task` is something to do whose outcome can be checked. A `Rollout` is one try at it, in one mode. A `Sample` is one
assistant turn to learn from: its prompt (messages and tools), and the reply in KAT's parts. Records are frozen; ids are
made from content (`content_id`), never from time or order, so that the same input gives the same records.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from assistant.errors import UserError
from model.format import Mode, Reply, ThinkRequest, ToolCall
from model.prompt import Message, ToolSpec

VERSION = 1
"""Of the records below; a reader refuses a newer one."""
UNVERIFIED = "unverified"
"""The type of a task that nothing verifies: a commit without tests. It may be trained on, and never evaluated on."""
TaskKind = Literal["commit", "mutation", "invented", "writing", "review", "question", "trace"]
"""Where a task comes from: the history, a mutation, a model that wrote a bug, a docstring to be implemented, a diff to
be reviewed, a question on code, a call whose result is asked for."""
Split = Literal["train", "valid", "test"]
Difficulty = Literal["easy", "medium", "hard"]
Evidence = Literal["tests", "execution", "construction", "critic", "none"]
"""What says that a task or sample is right: tests that failed and pass, a program that was run, the way it was made (a
mutation undone, a definition looked up), a model's verdict, or nothing."""
ModeBy = Literal["vote", "stratum", "request", "policy", "random", "regime"]
"""What decided a sample's mode: votes on this very task, votes on tasks like it (same family and difficulty), the
user's words, a named rule of the assistant's think policy, the random share, or the regime that it was written for."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a source: `first` to `last` are its lines (1-based); `tests` are those seen to run it."""

    path: str
    name: str
    first: int
    last: int
    tests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A repository or an unpacked sdist that data is made from.

    `root` is its folder. `revision` is the commit, or ``sha256:…`` of its files where it has no history; `released` is
    an ISO date (of the commit or the release), by which splits by time go. `licence` is an SPDX id, or empty: unknown.
    `test` is the command that runs its tests, `python` the interpreter of its own environment (empty: none was made).
    `passing` are the tests that pass each time, `flaky` those that do not, `seconds` what one run takes, rounded.
    `lines` are the lines that passing tests run, by file.
    """

    name: str
    root: str
    revision: str
    licence: str = ""
    released: str = ""
    test: str = ""
    python: str = ""
    environment: str = ""
    passing: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    seconds: float = 0.0
    functions: tuple[Function, ...] = ()
    lines: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    version: int = VERSION

    @property
    def id(self) -> str:
        """What it is called in reports."""
        return self.name


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a record comes from: `made_by` is the stage and what of it (an operator, a kind of question, an engine).

    `path` and `function` say where in the source, `released` is the date that splits by time go by.
    """

    source: str
    revision: str = ""
    released: str = ""
    path: str = ""
    function: str = ""
    made_by: str = ""
    parent: str = ""
    """The id of the record that this one was made from."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was seen. `runs` is how often; `evidence` holds hashes and short texts, and no times."""

    by: Evidence = "none"
    runs: int = 0
    evidence: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tags:
    """What a record is about. `difficulty` is measured; `measures` are the numbers behind it, by name.

    `intent` is the user's wish about thinking, from -1 (by no means) to 1 (by all means), 0 where none was said;
    `language` is that of the words: ``en`` or ``zh``.
    """

    type: str = ""
    domain: str = ""
    difficulty: Difficulty = "medium"
    intent: float = 0.0
    language: str = "en"
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do in a source, or a question on it, and what tells whether it was done.

    Patches are unified diffs as `git apply` takes them, with paths relative to the source's root. A task's files are
    the source at `provenance.revision` with `start` applied; `solution` leads from there to files that are right, and
    `tests_patch` adds the tests that belong to it, which whoever solves the task does not see. `statement` is what the
    user says. `answer` is the right answer of a task without tests (a trace's result, a question's answer), `thought`
    a chain of thought that is known to be right (a trace), else empty. `context` is what the question shows (code).
    """

    id: str
    kind: TaskKind
    statement: str
    provenance: Provenance
    licence: str = ""
    start: str = ""
    solution: str = ""
    tests_patch: str = ""
    test: str = ""
    fail_to_pass: tuple[str, ...] = ()
    pass_to_pass: tuple[str, ...] = ()
    context: str = ""
    answer: str = ""
    thought: str = ""
    tags: Tags = field(default_factory=Tags)
    verification: Verification = field(default_factory=Verification)
    split: Split = "train"
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Rollout:
    """One try at a task: the mode asked for, the reply, whether it was right, and how many tokens it took."""

    id: str
    task: str
    mode: Mode
    reply: Reply
    passed: bool
    by: Evidence
    tokens: Mapping[str, int] = field(default_factory=dict)
    engine: str = ""
    seed: int = 0
    why: str = ""
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Votes:
    """How often a task, or tasks of its stratum, were solved in each mode."""

    on_passed: int = 0
    on_tried: int = 0
    off_passed: int = 0
    off_tried: int = 0
    delta: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One assistant turn to learn from.

    The prompt is `messages` and `tools` as the assistant sends them, rendered by a dialect with `request`; the reply is
    `judge`, `mode`, `think`, `answer` and `calls`. Where `request` is not AUTO the judge and the mark were prefilled,
    so that they carry no loss. `by` says what decided the mode, `votes` how it went. `trainable` is false for a turn
    whose call failed: it is context for others, and gets no loss.
    """

    id: str
    family: str
    mode: Mode
    messages: tuple[Message, ...]
    answer: str
    provenance: Provenance
    judge: str = ""
    think: str = ""
    calls: tuple[ToolCall, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    request: ThinkRequest = ThinkRequest.AUTO
    by: ModeBy = "regime"
    votes: Votes = field(default_factory=Votes)
    trainable: bool = True
    task: str = ""
    licence: str = ""
    tags: Tags = field(default_factory=Tags)
    verification: Verification = field(default_factory=Verification)
    split: Split = "train"
    version: int = VERSION

    @property
    def reply(self) -> Reply:
        """The reply, whole."""
        return Reply(self.judge, self.mode, self.think, self.answer, self.calls, closed=True)


@dataclass(frozen=True, slots=True)
class Preference:
    """Two replies to one prompt, of which the user, or the tests, preferred `chosen`."""

    id: str
    messages: tuple[Message, ...]
    chosen: Reply
    rejected: Reply
    provenance: Provenance
    tools: tuple[ToolSpec, ...] = ()
    why: str = ""
    licence: str = ""
    split: Split = "train"
    version: int = VERSION


Record = Source | Task | Rollout | Sample | Preference
R = TypeVar("R", Source, Task, Rollout, Sample, Preference)
KINDS: Mapping[str, type[Source] | type[Task] | type[Rollout] | type[Sample] | type[Preference]] = {
    "source": Source,
    "task": Task,
    "rollout": Rollout,
    "sample": Sample,
    "preference": Preference,
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that a stage did not let through: `reason` is one of a few words (``flaky``), `detail` a sentence."""

    id: str
    reason: str
    detail: str = ""


def content_id(prefix: str, *parts: str | bytes) -> str:
    """An id made from content: the same parts give the same id, in every process and on every machine."""
    return f"{prefix}-{content_hash(parts)}"


def content_hash(parts: Iterable[str | bytes]) -> str:
    """The hash in such an id, of parts that need not all be held at once."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def as_line(record: Record) -> str:
    """The record as one line of JSON, the same bytes each time; what is at its default is written too.

    Names stand in the order of their records, and of a call's arguments in the order that a model is to write them in.
    """
    fields = _adapter(type(record).__name__.lower()).dump_python(record, mode="json")
    return json.dumps(fields, ensure_ascii=False)


def record_of(kind: type[R], line: str | bytes) -> R:
    """The record in a line of JSON.

    Raises:
        UserError: it is none of this kind, or of a newer version than is known here.
    """
    try:
        record: R = _adapter(kind.__name__.lower()).validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        raise UserError(f"this is no {kind.__name__.lower()}: {where}: {first['msg']}") from None
    if record.version > VERSION:
        raise UserError(f"a record of version {record.version} is newer than {VERSION}; update KAT Pilot to read it")
    return record


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[kind])
