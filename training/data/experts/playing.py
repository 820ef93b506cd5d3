"""Where experts play: the assistant's own loop, tools and sandbox in a copy of a source, its model an expert.

Prompts are byte for byte what the product sends for that repository, but that it lies at a neutral place and that its
tests take a time that is drawn (`Steady`): what a clock or a temporary folder says would differ from run to run.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from assistant import interrupts
from assistant.calling import CallRunner
from assistant.compaction import Compactor
from assistant.config import Settings
from assistant.context import PROFILES, ProfileName, Transcript, first_message, output_limit, system_text
from assistant.ending import Limits
from assistant.events import RunFinished, RunStatus
from assistant.instructions import fenced, find_instructions
from assistant.opening import DRAWS
from assistant.pilot import Pilot
from assistant.records import StepRecord
from assistant.safety.confinement.private import private_folder
from assistant.safety.permissions import Permissions
from assistant.safety.sandbox import detect
from assistant.sampling import sampling_of
from assistant.sessions import Journal
from assistant.sessions.resuming import Beginning, Prefix
from assistant.step import StepRunner
from assistant.testing.commands import find_test_command
from assistant.think import EDITS, Policy
from assistant.tools.base import ToolContext
from assistant.tools.toolbox import Toolbox
from assistant.trail import Trail
from assistant.workspace.files import Workspace
from assistant.workspace.outline import roughly
from assistant.workspace.plain_git import plain_git
from assistant.workspace.repomap import RepoMap, first_map
from model.budget import Budget, thought_of
from model.dialects import dialect
from model.engine import Delta, Engine, EngineInfo, Finish, Sampling, Usage
from model.format import Mode, Reply, ThinkRequest, ToolCall
from model.prompt import Prompt
from training.data.experts.steady import Astray, Steady
from training.data.repositories.checkouts import copied
from training.data.schema import Source

NEUTRAL = Path("/repo")
"""Below it repositories seem to lie, in prompts and for commands."""
_DIALECT = "kat"
INFO = EngineInfo("expert", "expert", _DIALECT)
_LIMITS = Limits(DRAWS.steps)
_PATIENCE = 600.0
"""Seconds that the map of a repository is waited for, so that it is whole however slow the machine is."""
_FILES = 100_000
_LEAK = re.compile(r"kat-run-|/dev/shm/")


@dataclass(frozen=True, slots=True)
class Turn:
    """What an expert says at one step.

    `on` is the mode that he chooses where he may; a rule can force the other one, so that `think` is always given, and
    is true. `judge` says why he chose so. `fails` says that he knows that a call of it will not work.
    """

    answer: str
    calls: tuple[ToolCall, ...] = ()
    think: str = ""
    judge: str = ""
    on: bool = False
    fails: bool = False


Script = Generator[Turn, tuple[str, ...], None]
"""An expert at work: he yields turns, and gets what their calls gave."""


@dataclass(frozen=True, slots=True)
class Played:
    """A step of an episode: what was asked, the expert's reply, and the step's record."""

    prompt: Prompt
    reply: Reply
    record: StepRecord
    fails: bool


class Expert:
    """An engine that says what a script says. `said` are its prompts and turns."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.said: list[tuple[Prompt, Turn, Reply]] = []
        self.astray: Astray | None = None

    async def info(self) -> EngineInfo:
        """An expert in KAT's dialect, with room for any prompt."""
        return INFO

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The turn in the mode that is asked for, as KAT would write it behind the prompt's opening."""
        turn = self._turn(prompt)
        reply = _reply(turn, prompt)
        self.said.append((prompt, turn, reply))
        text = dialect(_DIALECT).write(reply)
        if not text.startswith(prompt.opening.text):
            raise Astray("the reply does not begin as the prompt has it")
        yield Delta(text.removeprefix(prompt.opening.text), 1, Finish.STOP, Usage(1, 0, 1))

    async def count(self, prompt: Prompt) -> int | None:
        """It has no tokenizer."""
        return None

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _turn(self, prompt: Prompt) -> Turn:
        try:
            return self._script.send(_results(prompt)) if self.said else next(self._script)
        except StopIteration:
            raise Astray("the expert was done, and was asked once more") from None
        except Astray as error:
            self.astray = error
            raise


def _results(prompt: Prompt) -> tuple[str, ...]:
    """What the calls of the last reply gave."""
    messages = prompt.messages
    last = max((n for n, message in enumerate(messages) if message.role == "assistant"), default=len(messages))
    return tuple(message.content for message in messages[last + 1 :] if message.role == "tool")


def _reply(turn: Turn, prompt: Prompt) -> Reply:
    why = prompt.opening.text.partition("\n</judge>")[0] if prompt.think is not ThinkRequest.AUTO else turn.judge
    on = turn.on if prompt.think is ThinkRequest.AUTO else prompt.think is ThinkRequest.ON
    if on and not turn.think:
        raise Astray("a thought was asked of the expert, who has none")
    mode = Mode.ON if on else Mode.OFF
    return Reply(why, mode, turn.think if on else "", turn.answer, turn.calls, closed=True)


class _Quiet(Journal):
    """A journal that nobody needs after a crash: it does not wait for the disk."""

    def append(self, kind: str, *, sync: bool = False, **data: Any) -> None:
        """Write a record."""
        super().append(kind, sync=False, **data)


@dataclass(frozen=True, slots=True)
class Stand:
    """A copy of a source in which episodes are played; after each its files are what they were.

    `base` is the source's own folder. `start` are the files that are not as there, by path; None is one that is not.
    """

    name: str
    base: Path
    workspace: Workspace
    sandbox: Steady
    test: str | None
    journal: Journal
    maps: Path
    map: RepoMap
    start: Mapping[str, bytes | None] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The copy."""
        return self.workspace.root

    def text(self, path: str) -> str:
        """A file of it as it is now. Raises `WorkspaceError`."""
        return self.workspace.read(path).text

    def beginning(self, start: Mapping[str, bytes | None]) -> Stand:
        """The same with these files laid over; `end` takes them away."""
        for path, data in start.items():
            _put(self.root / path, data)
        return replace(self, start=start)

    def end(self) -> None:
        """Make the files what they are in the source."""
        for path in self.start:
            _put(self.root / path, _bytes(self.base / path))

    def play(
        self, words: str, script: Script, profile: ProfileName, prefix: Prefix | None = None
    ) -> tuple[Played, ...]:
        """The steps of an episode that begins with the user's `words`.

        Raises:
            Astray: it did not go as the expert had it.
        """
        expert = Expert(script)
        try:
            records = interrupts.run(_run(self._pilot(expert, prefix or self.prefix(profile)), words))
            if len(records) != len(expert.said):
                raise Astray("a step was repeated")
            return tuple(_played(*said, record) for said, record in zip(expert.said, records, strict=True))
        except Astray as error:
            raise expert.astray or error from None
        finally:
            script.close()
            self._restore(reply for _, _, reply in expert.said)

    async def attempt(
        self, words: str, engine: Engine, profile: ProfileName, think: ThinkRequest, limits: Limits, tokens: int
    ) -> Sequence[StepRecord]:
        """The steps of an engine that is asked for the first time, of `tokens` tokens each; it leaves the files as they
        then are. Raises EngineError if it cannot be used."""
        pilot = self._pilot(engine, self.prefix(profile), await engine.info(), limits, tokens)
        async for _ in pilot.run(words, think):
            pass
        return pilot.records

    def prefix(self, profile: ProfileName) -> Prefix:
        """What prompts of a session here begin with, as the files are now."""
        told = PROFILES[profile]
        found = first_map(self.workspace, self.maps, told.map, roughly, _PATIENCE) if told.map else ""
        instructions = find_instructions(self.workspace, ".", told.instructions)
        files = self.workspace.list(limit=_FILES).paths
        system = system_text(told, self.name, files, self.test, found)
        return Prefix(system, first_message(told, self.workspace, fenced(instructions)), profile)

    def _pilot(
        self,
        expert: Engine,
        prefix: Prefix,
        info: EngineInfo = INFO,
        limits: Limits = _LIMITS,
        tokens: int = DRAWS.reply_tokens,
    ) -> Pilot:
        """A session, put together as `assistant.opening` does it; the stand keeps its files instead of snapshots."""
        spoken, settings, toolbox = dialect(_DIALECT), Settings(), Toolbox(prefix.profile)
        sampling, compact = sampling_of(settings, "", 0.0, tokens), prefix.profile == "compact"
        calling = CallRunner(
            tools=self._tools(prefix.profile),
            read=toolbox.read,
            readable=not compact,
            permissions=Permissions(("edit", "command"), interactive=False, sandboxed=True, undoable=True),
            journal=self.journal,
            undo=None,
            policy=Policy(holds=frozenset()) if compact else Policy(),
            trail=Trail(self.workspace),
            stop=asyncio.Event(),
        )
        runner = StepRunner(
            engine=expert,
            info=info,
            dialect=spoken,
            sampling=sampling,
            budget=Budget(settings.judge_budget, thought_of(sampling.max_tokens)),
            specs=toolbox.specs(),
            calling=calling,
            transcript=Transcript(prefix.system, prefix.first),
            compactor=Compactor(expert, spoken, toolbox.specs(), sampling, None),
        )
        beginning = Beginning(self.journal, runner.transcript, prefix.profile)
        return Pilot(runner, limits, NEUTRAL / self.name, beginning)

    def _tools(self, profile: ProfileName) -> ToolContext:
        told = PROFILES[profile]
        return ToolContext(
            self.workspace,
            self.sandbox,
            self.test,
            output_limit=output_limit(told, None),
            repo_map=self.map if told.map else None,
        )

    def _restore(self, replies: Iterable[Reply]) -> None:
        """Make the files that calls may have changed what they were."""
        calls = (call for reply in replies for call in reply.calls if call.name in EDITS)
        for path in {str(call.arguments.get("path", "")) for call in calls} - {""}:
            data = self.start[path] if path in self.start else _bytes(self.base / path)
            _put(self.root / path, data)


async def _run(pilot: Pilot, words: str) -> Sequence[StepRecord]:
    end: RunFinished | None = None
    async for event in pilot.run(words, ThinkRequest.AUTO):
        end = event if isinstance(event, RunFinished) else end
    if end is None or end.status is not RunStatus.DONE:
        raise Astray(end.message if end else "it has no end")
    return pilot.records


def _played(prompt: Prompt, turn: Turn, reply: Reply, record: StepRecord) -> Played:
    """A step, if it went as its expert had it and says nothing of this machine."""
    failed = any(call.outcome in ("failed", "invalid", "denied") for call in record.calls)
    if record.cut or record.fault or (failed and not (turn.fails or _tested(record))):
        raise Astray(f"step {record.index} went wrong")
    if (leak := _LEAK.search("".join(message.content for message in prompt.messages))) is not None:
        raise Astray(f"a prompt names a place of this machine ({leak[0]})")
    return Played(prompt, reply, record, turn.fails and failed)


def _tested(record: StepRecord) -> bool:
    return all(call.outcome == "ok" or call.tool == "run_tests" for call in record.calls)


@contextmanager
def stand(source: Source, base: Path, test: str = "") -> Iterator[Stand]:
    """A copy of a source's files in `base` to play in, gone afterwards.

    `test` is the command that runs the tests; else the source's, else one is looked for.

    Raises:
        UserError: there is no room for it, or git cannot be used.
    """
    shared = Path("/dev/shm")  # noqa: S108 - only what is thrown away lies there
    with private_folder(shared if os.access(shared, os.W_OK) else None) as folder, ExitStack() as stack:
        root = folder / "files"
        copied(base, root)
        for order in (("init", "--quiet"), ("add", "--all", "--force"), ("commit", "--quiet", "-m", "as it was")):
            plain_git(root, *order, failing="the copy cannot be used")
        neutral = NEUTRAL / source.name
        workspace = Workspace(root, known_as=neutral)
        command, environ = _command(source, test, workspace)
        places = ((str(root), str(neutral)), (str(base), str(neutral)), (str(folder), str(NEUTRAL)), *_python(source))
        sandbox = Steady.over(detect(root, environ=environ), places)
        journal = _Quiet.create(folder / "sessions", root, INFO)
        stack.callback(journal.close)
        found = RepoMap(workspace, folder / "maps", hears=False)
        stack.callback(found.close)
        yield Stand(source.name, base, workspace, sandbox, command, journal, folder / "maps", found)


def _command(source: Source, test: str, workspace: Workspace) -> tuple[str | None, dict[str, str]]:
    """How the tests run, in words that hold anywhere, and where its programs are found."""
    python = Path(source.python or sys.executable)
    environ = {"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home()), "LANG": "C.UTF-8"}
    command = test or source.test or find_test_command(workspace, environ)
    for name in (source.python, sys.executable):
        command = command.replace(name, "python") if command and name else command
    return command or None, environ


def _python(source: Source) -> tuple[tuple[str, str], ...]:
    python = Path(source.python or sys.executable)
    return (str(python.parent.parent), "/venv"), (str(python.resolve().parent.parent), "/usr")


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _put(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
    elif _bytes(path) != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
