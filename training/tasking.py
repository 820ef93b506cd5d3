"""Tasks of training data for learning by trial: read, posed as the data was asked for, and checked the same way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from assistant.errors import UserError
from model.format import ThinkRequest
from model.prompt import Dialect, Tokenizer
from training.budgets import Written
from training.data.asking.checking import check
from training.data.asking.posing import Posed, pose
from training.data.flow.shards import read
from training.data.repositories.checkouts import Sources
from training.data.schema import UNVERIFIED, Split, Task
from training.data.stage import Context
from training.places import place
from training.rewards import Score, well_formed
from training.settings import DataTable


def tasks(
    table: DataTable, base: Path, split: Split = "train", where: str = "", *, episodes: bool = False
) -> dict[str, Task]:
    """The verified tasks of a split that can be posed, by their ids; `where` is by default the recipe's place.

    With `episodes`, those too that can be played only, in the task's own files, and whose tests tell.

    Raises:
        UserError: there are none.
    """
    named = where or table.tasks
    if not named:
        raise UserError("the recipe names no tasks; set data.tasks to a folder of `kat train data`")
    found: dict[str, Task] = {}
    for task in read(Task, place(base, named)):
        fits = pose(task) is not None or (episodes and bool(task.fail_to_pass))
        if task.split == split and task.tags.type != UNVERIFIED and fits:
            found[task.id] = task
            if table.limit and len(found) >= table.limit:
                break
    if not found:
        raise UserError(f"{named} has no verified task of the {split} split whose reply can be checked; make some")
    return found


@dataclass(frozen=True, slots=True)
class Single:
    """Tasks as single replies: how one is asked, and what a reply is worth."""

    dialect: Dialect
    tokens: Tokenizer
    context: Context
    sources: Sources | None = None

    @classmethod
    def of(
        cls, table: DataTable, base: Path, dialect: Dialect, tokens: Tokenizer, cache: Path, jobs: int = 1
    ) -> Single:
        """Of a recipe: tests are run where it names the tasks' sources."""
        sources = Sources(place(base, table.sources)) if table.sources else None
        return cls(dialect, tokens, Context(cache, jobs), sources)

    def ids(self, task: Task) -> list[int]:
        """The prompt, up to where the reply begins. Raises UserError for a task that has no form."""
        prompt = self.dialect.render(_posed(task).messages, (), ThinkRequest.AUTO, "")
        return prompt.token_ids(self.tokens)

    def wish(self, task: Task) -> ThinkRequest:
        """What the user said of thinking."""
        return _posed(task).wish

    def score(self, task: Task, written: Written) -> Score:
        """By tests or by comparison; a reply that did not come to its end is wrong. Safe in threads."""
        form = well_formed(written, self.dialect)
        if written.drawn.finish != "stop" or not written.reply.answer.strip():
            return Score(0.0, form, "it has no answer, or did not come to its end")
        verdict = check(task, written.reply, self.context, self.sources)
        return Score(None if verdict.passed is None else float(verdict.passed), form, verdict.why)


def _posed(task: Task) -> Posed:
    posed = pose(task)
    if posed is None:
        raise UserError(f"the task {task.id} shows no code and asks for no answer; it can only be played as an episode")
    return posed
