"""Held-out tasks put to a model, in the modes named, and checked as in training: greedy, all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import UserError
from model.format import Mode, ThinkRequest
from training.budgets import Voice, Written
from training.data.asking.posing import Posed, pose
from training.data.flow.shards import read
from training.data.schema import UNVERIFIED, Task
from training.evaluating.tries import Asked, Try
from training.examples import Place
from training.places import place
from training.rollout import Draws, why_forced
from training.sampling import Ask, Limits
from training.seeds import rng
from training.settings import Recipe
from training.tasking import Single


@dataclass(frozen=True, slots=True)
class Question:
    """A task as it is posed."""

    task: Task
    posed: Posed


@dataclass(frozen=True, slots=True)
class Exam:
    """Questions in the modes named; `limits` are those of a reply."""

    questions: Sequence[Question]
    modes: Sequence[Asked]
    limits: Limits

    def take(self, draws: Draws, voice: Voice, single: Single, jobs: int = 1) -> list[Try]:
        """Let a model answer all of it; `jobs` replies are checked at once."""
        seats = [(question, mode) for question in self.questions for mode in self.modes]
        asks = [Ask(tuple(single.ids(question.task)), _forced(mode, voice)) for question, mode in seats]
        written = [voice.read(drawn) for drawn in draws.draw(asks, self.limits)]
        with ThreadPoolExecutor(max_workers=max(1, jobs)) as threads:
            return list(threads.map(_try, [single] * len(seats), seats, written))


def questions(recipe: Recipe, base: Path) -> list[Question]:
    """The tasks to be tried, as many as the recipe wants, of those whose reply can be checked: those of `eval.tasks`,
    which is to hold none that was trained on; without it, those of the test split of `data.tasks`.

    Raises:
        UserError: the place of tasks that the recipe names for this holds none.
    """
    own, where = recipe.eval.tasks, recipe.eval.tasks or recipe.data.tasks
    if not where:
        return []
    every = (task for task in read(Task, place(base, where)) if own or task.split == "test")
    found = sorted(_posable(every, tested=bool(recipe.data.sources)), key=lambda one: one.task.id)
    if own and not found:
        raise UserError(f"{own} holds no task whose reply can be checked; set eval.tasks to another place, or leave it")
    rng(recipe.seed, "eval").shuffle(found)
    return found[: recipe.eval.count]


def _posable(tasks: Iterator[Task], *, tested: bool) -> Iterator[Question]:
    """Tasks that something verified; whole functions only where their tests can be run."""
    for task in tasks:
        posed = pose(task) if task.tags.type != UNVERIFIED and task.kind != "review" else None
        if posed and (posed.form != "function" or tested):
            yield Question(task, posed)


def _forced(asked: Asked, voice: Voice) -> tuple[int, ...]:
    return () if asked == "auto" else voice.opening(Mode(asked), why_forced(Mode(asked)))


def _try(single: Single, seat: tuple[Question, Asked], written: Written) -> Try:
    (question, asked), spent = seat, written.spent
    score, wish = single.score(question.task, written), question.posed.wish
    return Try(
        question.task.id,
        question.posed.family,
        asked,
        str(written.reply.mode or ""),
        None if score.accuracy is None else bool(score.accuracy),
        bool(score.format),
        spent[Place.JUDGE],
        spent[Place.THINK],
        spent[Place.ANSWER] + spent[Place.TOOL],
        "" if wish is ThinkRequest.AUTO else str(wish),
    )
