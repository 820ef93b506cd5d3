"""The user's own sessions as samples and preferences: only if he says so, and without secrets and personal data.

He says so with the option `opt_in`, or once and for all with ``own_sessions = true`` in his settings; nothing in a
repository can say it for him. Samples are steps of runs that ended well (`own_outcomes` says
what counts), among them those with which the model followed a correction. Preferences are the branches of forked steps
that the user chose between, and edits that he kept against those that he took back or refused in the same session.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from assistant.config import config_dir, load, state_dir
from assistant.errors import UserError
from assistant.explaining import prompt_of, transcript_before
from assistant.records import StepRecord
from assistant.safety.secrets import known_secrets
from assistant.sessions import header, read, sessions_dir, undamaged
from assistant.sessions.replay import branch_of
from assistant.think import EDITS
from assistant.workspace.git import GitReader
from model.format import Mode, Reply, ThinkRequest, ToolCall
from model.prompt import Message
from training.data.own.cleaning import Cleaner
from training.data.own.outcomes import Blobs, Outcomes, Run, outcomes
from training.data.schema import ModeBy, Preference, Provenance, Refused, Sample, Source, Tags, Verification, content_id
from training.data.stage import Context, place

FAMILY = "agent_step"
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OwnSessions:
    """Samples and preferences from the sessions that the user had in each source's repository.

    `journals` is their folder (empty: where KAT Pilot keeps them). `names` are of people, to be taken out.
    """

    name: ClassVar[str] = "own_sessions"
    version: ClassVar[int] = 1
    reads: ClassVar[type] = Source
    writes: ClassVar[Any] = Sample | Preference
    whole: ClassVar[bool] = False

    opt_in: bool = False
    journals: str = place(by_content=False)
    names: tuple[str, ...] = ()

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Sample | Preference | Refused]:
        """What each source's sessions give, in the order of the sessions.

        Raises:
            UserError: the user has not said that his sessions may be used.
        """
        if not self._may:
            raise UserError(
                f"your own sessions are only used if you say so: set opt_in, or write own_sessions = true into "
                f"{config_dir() / 'config.toml'}"
            )
        for source in records:
            for path in self._paths():
                yield from self._of(source, path)

    def outside(self) -> str:
        """Whether the user has said so, and if he has, a hash of what outcomes hang on.

        That is the journals, the last commits of the repositories they are of, and secrets known by their values.
        """
        if not self._may:
            return "no"
        digest = hashlib.sha256("\0".join(known_secrets(None, os.environ)).encode())
        heads: dict[str, str] = {}
        for path in self._paths():
            root = _repository(path)
            heads[root] = heads[root] if root in heads else _head(root)
            digest.update(f"\0{path.name}\0{heads[root]}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    @property
    def _may(self) -> bool:
        return self.opt_in or load().own_sessions

    def _paths(self) -> list[Path]:
        return sorted((Path(self.journals) if self.journals else sessions_dir(state_dir())).glob("*.jsonl"))

    def _of(self, source: Source, path: Path) -> Iterator[Sample | Preference | Refused]:
        root = Path(source.root).resolve()
        try:
            first = header(path)
            if Path(first["repository"]).resolve() != root or first.get("spawned_by"):
                return
            with undamaged(path):
                kept = list(read(path))
                found = outcomes(kept, _committed(root))
                yield from _Session(source, kept, found, Cleaner(root, self.names)).records()
        except UserError as error:
            yield Refused(f"{source.id}/{content_id('session', path.name)}", "damaged", str(error))


@dataclass(frozen=True, slots=True)
class _Session:
    """One session, and what became of its steps."""

    source: Source
    journal: Sequence[Record]
    outcomes: Outcomes
    clean: Cleaner

    def records(self) -> Iterator[Sample | Preference]:
        """Samples of the runs that were kept, then preferences."""
        for run in self.outcomes.runs:
            if run.kept:
                yield from (self._sample(run, step) for step in run.steps if _whole(step))
        yield from self._forks()
        yield from self._diffs()

    def _sample(self, run: Run, step: StepRecord) -> Sample:
        prompt, reply = self._prompt(step), self._reply(step.index)
        right = all(call.outcome == "ok" or _tested(call.tool) for call in step.calls)
        what = "correction" if step.index in run.steered else run.kept
        return Sample(
            id=content_id("own", self.source.name, *_texts(prompt, reply)),
            family=FAMILY,
            mode=reply.mode or Mode.OFF,
            messages=prompt,
            answer=reply.answer,
            judge=reply.judge,
            think=reply.think,
            calls=reply.calls,
            tools=prompt_of(self.journal, step).tools,
            request=step.sent or ThinkRequest.AUTO,
            by=_by(step),
            trainable=right,
            provenance=self._from(what),
            licence=self.source.licence,
            tags=Tags(type="session"),
            verification=Verification("tests" if run.kept == "tests" else "construction", 1, {"kept": run.kept}),
        )

    def _forks(self) -> Iterator[Preference]:
        """Steps that were run again in the other mode, and whose better branch the user chose."""
        last = {each["step"]: each for each in self.journal if each["kind"] == "preference"}
        for index, record in sorted(last.items()):
            step = next((each for run in self.outcomes.runs for each in run.steps if each.index == index), None)
            if step is None:
                continue
            branches = {name: self._branch(record[name]) for name in ("original", "other")}
            chosen, rejected = branches.pop(record["choice"]), *branches.values()
            if chosen.answer or chosen.calls:
                yield self._preference(step, chosen, rejected, "fork", "the user liked this branch of the step better")

    def _diffs(self) -> Iterator[Preference]:
        """An edit that was kept, against an earlier one of the same files that the user took back or refused.

        The prompt is that of the kept edit, in which the user's words on the other one stand.
        """
        kept = [step for run in self.outcomes.runs if run.kept for step in run.steps if _edited(step) and _whole(step)]
        every = [step for run in self.outcomes.runs for step in run.steps]
        for step in kept:
            earlier = (one for one in every if one.index < step.index and one.index in self.outcomes.unwanted)
            wrong = next((one for one in reversed([*earlier]) if _edited(one) & _edited(step)), None)
            if wrong is not None:
                said = "refused" if wrong.index in self.outcomes.refused else "undone"
                chosen, rejected = self._reply(step.index), self._reply(wrong.index)
                yield self._preference(step, chosen, rejected, said, f"an edit of the same file before it was {said}")

    def _preference(self, step: StepRecord, chosen: Reply, rejected: Reply, what: str, why: str) -> Preference:
        messages = self._prompt(step)
        return Preference(
            id=content_id("choice", self.source.name, *_texts(messages, chosen), *_texts((), rejected)),
            messages=messages,
            chosen=chosen,
            rejected=rejected,
            provenance=self._from(what),
            tools=prompt_of(self.journal, step).tools,
            why=why,
            licence=self.source.licence,
        )

    def _prompt(self, step: StepRecord) -> tuple[Message, ...]:
        found = transcript_before(self.journal, step.index).messages
        return tuple(map(self.clean.message, found))

    def _reply(self, index: int) -> Reply:
        record = next(each for each in reversed(self.journal) if each["kind"] == "reply" and each["step"] == index)
        return self.clean.reply(_replied(record))

    def _branch(self, data: Record) -> Reply:
        branch = branch_of(data)
        calls = tuple(ToolCall(call.tool, call.arguments) for call in branch.record.calls)
        whole = Reply(branch.record.judge, branch.record.mode, branch.thought, branch.answer, calls, closed=True)
        return self.clean.reply(whole)

    def _from(self, what: str) -> Provenance:
        return Provenance(self.source.name, self.source.revision, self.source.released, made_by=f"own_sessions:{what}")


def _replied(record: Record) -> Reply:
    """The reply as the journal keeps it."""
    calls = tuple(ToolCall(each["name"], each["arguments"], each["raw"], each["error"]) for each in record["calls"])
    mode = Mode(record["mode"]) if record["mode"] else None
    return Reply(record["judge"], mode, record["think"], record["answer"], calls, closed=True)


def _repository(path: Path) -> str:
    """Where the repository of a session lies; empty where its journal does not say."""
    try:
        return str(header(path)["repository"])
    except (UserError, KeyError):
        return ""


def _head(root: str) -> str:
    """The last commit of a repository; empty where there is none."""
    try:
        return GitReader(Path(root)).write("rev-parse", "HEAD").decode() if root else ""
    except UserError:
        return ""


def _committed(root: Path) -> Blobs:
    """The contents of the last commit, by path; none where there is no history."""
    try:
        rows = GitReader(root).write("ls-tree", "-r", "-z", "HEAD").split(b"\0")
    except UserError:
        return {}
    parted = (os.fsdecode(row).partition("\t") for row in rows if row)
    return {path: meta.split()[2] for meta, _, path in parted}


def _whole(step: StepRecord) -> bool:
    """Whether a step may be learnt from: its reply was whole, and nobody stepped into it."""
    return step.cut is None and not step.fault and not step.interventions and step.mode is not None


def _tested(tool: str) -> bool:
    return tool in ("run_tests", "run_command")


def _edited(step: StepRecord) -> frozenset[str]:
    """The files that a step's edits named."""
    return frozenset(str(call.arguments.get("path", "")) for call in step.calls if call.tool in EDITS) - {""}


def _by(step: StepRecord) -> ModeBy:
    if step.rule in ("user_words", "pinned"):
        return "request"
    return "regime" if (step.sent or ThinkRequest.AUTO) is ThinkRequest.AUTO else "policy"


def _texts(messages: Iterable[Message], reply: Reply) -> list[str]:
    calls = [f"{call.name} {sorted(call.arguments.items())}" for call in reply.calls]
    return [*(message.content for message in messages), str(reply.mode), reply.think, reply.answer, *calls]
