"""Steps of an agent: experts play episodes through the assistant's own loop, and each of their turns is a sample.

Prompts, tools, results and the rules on thinking are the product's own (`playing`); what the experts say is true by
construction (`experts`). A turn whose call failed, or was held by the
think policy, is context for the turns behind it and carries no loss.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

from assistant.errors import UserError
from assistant.fix.changes import Changes
from assistant.sessions.resuming import Prefix
from assistant.tasks.patched import changes_in_turn
from model.format import Mode, ThinkRequest, ToolCall
from model.prompt import Message
from training.data.experts.expert import Episode, Library, Part, shuffled
from training.data.experts.looking import LOOKING
from training.data.experts.playing import Played, Stand, stand
from training.data.experts.repairing import Repair, repairs
from training.data.experts.restoring import EDITING
from training.data.experts.steady import Astray
from training.data.modes.intent import Phrase, phrase
from training.data.repositories.checkouts import Sources, tree
from training.data.repositories.modules import module_of
from training.data.schema import (
    Difficulty,
    Evidence,
    ModeBy,
    Provenance,
    Refused,
    Sample,
    Source,
    Tags,
    Task,
    Verification,
    content_id,
)
from training.data.stage import Context, place
from training.seeds import rng

FAMILY = "agent_step"
_USED_UP = "used_up"
_TRIES = 6
"""How often another place is drawn where one was taken before, or an episode went astray; our choice."""
_LONGEST = 40_000
"""Characters of a prompt, tools apart, above which its turn is left out; our choice."""
Kind = Callable[[Library, Part], Iterator[Episode]]
_Prefixes = dict[str, Prefix]
"""What prompts begin with, by profile, for files that do not change meanwhile."""


@dataclass(frozen=True, slots=True)
class Episodes:
    """Look-ups and small edits on sources: `each` episodes of a source, of two to five steps.

    `edits` is the share of edits among them, `full` that of the full profile (else the compact one), `chinese` that of
    Chinese, and `wishes` that of users who say how much is to be thought.
    """

    name: ClassVar[str] = "episodes"
    version: ClassVar[int] = 2
    reads: ClassVar[type] = Source
    writes: ClassVar[type] = Sample
    whole: ClassVar[bool] = False

    seed: int = 0
    each: int = 300
    edits: float = 0.45
    full: float = 0.3
    chinese: float = 0.25
    wishes: float = 0.15

    def __call__(self, records: Iterable[Source], context: Context) -> Iterator[Sample | Refused]:
        """One sample a turn, in the order of the episodes."""
        for source in records:
            try:
                yield from self._of(source, context)
            except UserError as error:
                yield Refused(source.id, "unplayable", str(error))

    def _of(self, source: Source, context: Context) -> Iterator[Sample | Refused]:
        base = tree(source, source.revision, context.cache)
        library, prefixes = Library(base), dict[str, Prefix]()
        if not library.modules:
            yield Refused(source.id, "unplayable", "it has no Python files that people wrote")
            return
        taken: set[tuple[str, str, str]] = set()
        with stand(source, base) as place:
            for number in range(self.each):
                made = list(self._one(source, place, library, prefixes, number, taken))
                yield from made
                if any(isinstance(one, Refused) and one.reason == _USED_UP for one in made):
                    return

    def _one(
        self,
        source: Source,
        place: Stand,
        library: Library,
        prefixes: _Prefixes,
        number: int,
        taken: set[tuple[str, str, str]],
    ) -> Iterator[Sample | Refused]:
        """One episode."""
        random_ = rng(self.seed, "episode", source.name, number)
        part, wish = _part(random_, self.full, self.chinese, self.wishes)
        astray = ""
        for episode in islice(_fresh(_kinds(random_, self.edits), library, part, taken), _TRIES):
            try:
                played = _play(place, episode, part, wish, prefixes)
            except Astray as error:
                astray = str(error)
                continue
            telling = _Telling(episode, part, wish, _of_source(source, episode), source.licence)
            yield from telling.samples(played)
            return
        yield Refused(f"{source.id}/{number}", "astray" if astray else _USED_UP, astray or "no place is left for one")


def _kinds(random_: random.Random, edits: float) -> list[Kind]:
    """All kinds of episodes in the order in which they are tried; the first is an edit as often as `edits` says."""
    first, second = (EDITING, LOOKING) if random_.random() < edits else (LOOKING, EDITING)
    return [*shuffled(random_, first), *shuffled(random_, second)]


def _fresh(kinds: Iterable[Kind], library: Library, part: Part, taken: set[tuple[str, str, str]]) -> Iterator[Episode]:
    """Episodes of places that were not taken for their kind, which they are from now on; two of each kind."""
    for kind in kinds:
        fresh = (each for each in kind(library, part) if (each.kind, each.path, each.function) not in taken)
        for episode in islice(fresh, 2):
            taken.add((episode.kind, episode.path, episode.function))
            yield episode


@dataclass(frozen=True, slots=True)
class Repairs:
    """Repairs of verified tasks, played by an expert who knows the solution: `each` ways to mend a task.

    `sources` is where the records of the tasks' sources are, or those themselves. The shares are as in `Episodes`.
    """

    name: ClassVar[str] = "repairs"
    version: ClassVar[int] = 2
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Sample
    whole: ClassVar[bool] = False

    seed: int = 0
    sources: str | tuple[Source, ...] = place()
    each: int = 1
    full: float = 0.4
    chinese: float = 0.2
    wishes: float = 0.1

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Sample | Refused]:
        """One sample a turn; a copy of a source serves all tasks of it that come one after the other."""
        known, desk = Sources(self.sources), _Desk(context.cache)
        with desk:
            for task in records:
                try:
                    source = known.get(task.provenance.source)
                    yield from self._of(task, source, desk.stand(source, task))
                except (Astray, UserError) as error:
                    yield Refused(task.id, "astray", str(error))

    def _of(self, task: Task, source: Source, place: Stand) -> Iterator[Sample | Refused]:
        if not task.solution or not task.statement.strip() or not task.fail_to_pass:
            yield Refused(task.id, "not_repairable", "it has no solution, no statement or no tests that fail")
            return
        begun = place.beginning(_contents(changes_in_turn((task.start,), place.base)))
        try:
            repair, library, prefixes = _repair(task, begun), Library(begun.root), dict[str, Prefix]()
            for number in range(self.each):
                random_ = rng(self.seed, "repair", task.id, number)
                part, wish = _part(random_, self.full, self.chinese, self.wishes)
                episode = next(repairs(library, part, repair))
                played = _play(begun, episode, part, wish, prefixes)
                yield from _Telling(episode, part, wish, _of_task(task, source), task.licence, task).samples(played)
        finally:
            begun.end()


class _Desk:
    """The copy of a source that is open; another one takes its place when a task of another source comes."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._stack = ExitStack()
        self._open: tuple[tuple[str, str, str], Stand] | None = None

    def __enter__(self) -> _Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stand(self, source: Source, task: Task) -> Stand:
        """A copy of the task's source at its revision."""
        key = (source.name, task.provenance.revision, task.test)
        if self._open is None or self._open[0] != key:
            self._stack.close()
            self._open = None
            base = tree(source, task.provenance.revision, self._cache)
            self._open = key, self._stack.enter_context(stand(source, base, task.test))
        return self._open[1]


def _part(random_: random.Random, full: float, chinese: float, wishes: float) -> tuple[Part, Phrase | None]:
    """How an expert speaks, and what the user wishes."""
    language = "zh" if random_.random() < chinese else "en"
    profile = "full" if random_.random() < full else "compact"
    said = None
    if random_.random() < wishes:
        said = phrase(random_, random_.choice((ThinkRequest.ON, ThinkRequest.OFF)), language)
    wish = said.wish if said is not None and said.binds else ThinkRequest.AUTO
    return Part(random_, language, "full" if profile == "full" else "compact", wish), said


def _play(place: Stand, episode: Episode, part: Part, wish: Phrase | None, prefixes: _Prefixes) -> tuple[Played, ...]:
    words = _with_wish(part.rng, episode.words, wish)
    if episode.start:
        begun = place.beginning(episode.start)
        try:
            return begun.play(words, episode.script(), part.profile)
        finally:
            begun.end()
    if part.profile not in prefixes:
        prefixes[part.profile] = place.prefix(part.profile)
    return place.play(words, episode.script(), part.profile, prefixes[part.profile])


def _with_wish(random_: random.Random, words: str, wish: Phrase | None) -> str:
    if wish is None:
        return words
    return f"{wish.text} {words}" if random_.random() < 0.4 else f"{words} {wish.text}"


def _repair(task: Task, place: Stand) -> Repair:
    """How the task is mended.

    Raises:
        Astray: not by one edit of a Python file.
    """
    solution = changes_in_turn((task.solution,), place.root)
    if len(solution.changes) != 1:
        raise Astray("the repair changes several files")
    (change,) = solution.changes
    if change.old is None or change.new is None or not change.path.endswith(".py"):
        raise Astray("the repair does not change a Python file")
    module = module_of(change.path, change.old.content.decode("utf-8", "replace"))
    if module is None:
        raise Astray("the file to be mended cannot be read")
    return Repair.of(task, module, change.new.content.decode("utf-8", "replace"))


def _contents(changes: Changes) -> Mapping[str, bytes | None]:
    return {change.path: change.new.content if change.new else None for change in changes.changes}


def _of_source(source: Source, episode: Episode) -> Provenance:
    return Provenance(source.name, source.revision, source.released, episode.path, episode.function, episode.kind)


def _of_task(task: Task, source: Source) -> Provenance:
    return replace(
        task.provenance, made_by="repair", parent=task.id, released=task.provenance.released or source.released
    )


@dataclass(frozen=True, slots=True)
class _Telling:
    """Makes samples of an episode that was played."""

    episode: Episode
    part: Part
    wish: Phrase | None
    provenance: Provenance
    licence: str
    task: Task | None = None

    def samples(self, played: Sequence[Played]) -> Iterator[Sample]:
        """One for each turn whose prompt is not too long."""
        for number, step in enumerate(played, 1):
            if sum(len(message.content) for message in step.prompt.messages) <= _LONGEST:
                yield self._sample(step, number, len(played))

    def _sample(self, step: Played, number: int, steps: int) -> Sample:
        messages = tuple(map(_plain, step.prompt.messages))
        reply, held = step.reply, any(call.outcome == "held" for call in step.record.calls)
        parts = [message.content for message in messages] + [str(reply.mode), reply.think, reply.answer]
        calls = json.dumps([[call.name, call.arguments] for call in reply.calls], sort_keys=True)
        by_task = self.task is not None
        evidence: Evidence = "tests" if by_task else "construction"
        outcomes = " ".join(f"{call.tool}:{call.outcome}" for call in step.record.calls)
        return Sample(
            id=content_id("step", self.provenance.source, self.provenance.revision, *parts, calls),
            family=FAMILY,
            mode=reply.mode or Mode.OFF,
            messages=messages,
            answer=reply.answer,
            judge=reply.judge,
            think=reply.think,
            calls=reply.calls,
            tools=step.prompt.tools,
            request=step.prompt.think,
            by=_by(step),
            trainable=not (step.fails or held),
            provenance=replace(self.provenance, made_by=f"{self.provenance.made_by}:{step.record.rule}"),
            task=self.task.id if self.task else "",
            licence=self.licence,
            tags=self._tags(steps),
            verification=Verification(evidence, 1, {"step": f"{number} of {steps}", "calls": outcomes}),
            split=self.task.split if self.task else "train",
        )

    def _tags(self, steps: int) -> Tags:
        """Difficulty is that of the task; else by what is to be done: only looking is easy (our choice)."""
        difficulty: Difficulty = "easy" if not self.episode.function or steps <= 2 else "medium"
        tags = self.task.tags if self.task else Tags(difficulty=difficulty)
        strength = self.wish.strength if self.wish else 0.0
        return replace(tags, type=self.episode.kind, intent=strength, language=self.part.language)


def _by(step: Played) -> ModeBy:
    """What decided the mode of a step."""
    if step.record.rule == "user_words":
        return "request"
    return "regime" if step.prompt.think is ThinkRequest.AUTO else "policy"


def _plain(message: Message) -> Message:
    """The message without what its calls looked like, where they could be read."""
    calls = tuple(one if one.error else ToolCall(one.name, one.arguments) for one in message.calls)
    return replace(message, calls=calls)
