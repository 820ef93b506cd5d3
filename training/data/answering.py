"""Samples from tasks that have a known answer, put as a user of `kat ask` would put them, in both regimes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from assistant.context import PROFILES, system_text
from assistant.think import Situation, users_words
from model.format import Mode, ThinkRequest
from model.prompt import Message
from training.data.asking.posing import pose
from training.data.modes.intent import Phrase, phrase, strength, wish_of
from training.data.modes.regimes import SHARE, Draft, checked, modes, sample
from training.data.schema import Refused, Sample, Tags, Task, TaskKind
from training.data.stage import Context
from training.seeds import rng

_OPEN = 0.1
"""Share of wishes that leave the choice to the model; our choice."""
_PREFILLED = 0.3
"""Share of binding wishes that the think policy hears first, so that the mode is prefilled; our choice."""
_TYPES: Mapping[TaskKind, str] = {"trace": "trace", "question": "question", "review": "review", "writing": "write"}
_HERE: Mapping[str, tuple[str, ...]] = {
    "en": ("This is from `{path}`:", "In `{path}`:", "The code, from `{path}`:", "{path}:"),
    "zh": ("这段代码来自 `{path}`：", "`{path}` 中有：", "代码如下(`{path}`):"),
}


@dataclass(frozen=True, slots=True)
class Answering:
    """One sample a task, or two: traces, questions, reviews and writing.

    `on` is the share that thinks, where the task has a thought; `regimes` is one of `regimes.REGIMES`. `wishes` is the
    share whose user says in words whether to think; where he says so clearly, that is what decides the mode.
    """

    seed: int = 0
    on: float = SHARE
    regimes: str = "mixed"
    wishes: float = 0.25

    name: ClassVar[str] = "answering"
    version: ClassVar[int] = 2
    reads: ClassVar[type] = Task
    writes: ClassVar[type] = Sample
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Sample | Refused]:
        """The samples of each task; tasks of other kinds are left out without a word.

        Raises:
            UserError: an option makes no sense.
        """
        checked(self.regimes, self.on)
        checked(self.regimes, self.wishes)
        for task in records:
            if task.kind not in _TYPES:
                continue
            if not task.answer.strip():
                yield Refused(task.id, "no_answer", "it has no answer that could be learned")
                continue
            chance = rng(self.seed, "answering", task.id)
            made = [sample(self._draft(task, mode, chance), mode, chance) for mode in self._modes(task, chance)]
            if not made:
                yield Refused(task.id, "no_thought", "it has no thought, and only samples that think are wanted")
            yield from made

    def _modes(self, task: Task, chance: random.Random) -> tuple[Mode, ...]:
        """The modes wanted; where the task's own words ask for one, no other."""
        drawn = modes(chance, self.regimes, self.on, thought=bool(task.thought.strip()))
        said = wish_of(strength(task.statement))
        return drawn if said is ThinkRequest.AUTO else tuple(mode for mode in drawn if mode.value == said.value)

    def _draft(self, task: Task, mode: Mode, chance: random.Random) -> Draft:
        language = task.tags.language if task.tags.language in _HERE else "en"
        wish = self._wish(task, mode, chance, language)
        words = _worded(_question(task, chance, language), wish, chance)
        tags = _tags(task, wish.strength if wish else strength(task.statement))
        binds = wish_of(tags.intent) is not ThinkRequest.AUTO
        prefilled = (
            users_words(Situation(words, ThinkRequest.AUTO, 0)) if binds and chance.random() < _PREFILLED else None
        )
        return Draft(
            task=task.id,
            family=task.kind,
            messages=(*_system(task, chance), Message("user", words)),
            answer=_answer(task),
            provenance=replace(task.provenance, parent=task.id),
            tags=tags,
            verification=task.verification,
            licence=task.licence,
            think=task.thought.strip(),
            split=task.split,
            forced=prefilled.why if prefilled and prefilled.request.value == mode.value else "",
            by="request" if binds else "regime",
        )

    def _wish(self, task: Task, mode: Mode, chance: random.Random, language: str) -> Phrase | None:
        """What the user says about thinking, which is never against the mode."""
        if chance.random() >= self.wishes or strength(task.statement):
            return None
        left = chance.random() < _OPEN
        return phrase(chance, ThinkRequest.AUTO if left else ThinkRequest(mode.value), language)


def _system(task: Task, chance: random.Random) -> tuple[Message, ...]:
    """The assistant's own words to a small model, without its tools, or those of a tried task, or none."""
    draw = chance.random()
    if draw < 0.5:
        path = task.provenance.path
        text = system_text(PROFILES["compact"], task.provenance.source, [path] if path else [], task.test or None)
        return (Message("system", text),)
    posed = pose(task) if draw < 0.8 else None
    return posed.messages[:1] if posed and posed.messages[0].role == "system" else ()


def _question(task: Task, chance: random.Random, language: str) -> str:
    """The user's question with the code that it is about, above it or below."""
    code = task.context.strip("\n")
    if not code.strip() or code.strip() in task.statement:
        return task.statement
    kind = "diff" if code.startswith(("diff --git ", "--- ")) else "python"
    fence = "````" if "```" in code else "```"
    block = f"{fence}{kind}\n{code}\n{fence}"
    path = task.provenance.path
    if path and kind == "python" and chance.random() < 0.4:
        block = f"{chance.choice(_HERE[language]).format(path=path)}\n\n{block}"
    parts = (task.statement, block) if chance.random() < 0.5 else (block, task.statement)
    return "\n\n".join(parts)


def _worded(question: str, wish: Phrase | None, chance: random.Random) -> str:
    """The question with the wish before or behind it."""
    if wish is None:
        return question
    if chance.random() < 0.5:
        return f"{wish.text}\n\n{question}" if "\n" in question else f"{wish.text} {question}"
    return f"{question}\n\n{wish.text}" if "\n" in question else f"{question} {wish.text}"


def _answer(task: Task) -> str:
    answer = task.answer.strip()
    match task.kind:
        case "trace" if "`" not in answer:
            return f"`{answer}`"
        case "writing" if not answer.startswith("```"):
            fence = "````" if "```" in answer else "```"
            return f"{fence}python\n{answer}\n{fence}"
        case _:
            return answer


def _tags(task: Task, intent: float) -> Tags:
    tags = task.tags
    measures = {"context": float(len(task.context)), **tags.measures}
    return replace(tags, type=tags.type or _TYPES[task.kind], intent=intent, measures=dict(sorted(measures.items())))
