"""Tasks that need not be written first: a few questions that come with the program, and mistakes made in any code."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.errors import UserError
from assistant.safety.confinement.private import private_folder, remove_abandoned
from assistant.tasks.task import Task, folder_digest, read_tasks

if TYPE_CHECKING:
    from assistant.evaluation.mutants import TaskMade

ANSWERS = Path(__file__).parent / "tasks"
"""The questions that come with the program."""


def answers(folder: Path | None = None) -> list[Task]:
    """The tasks of the kind "answer" in `folder`, else those that come with the program.

    Raises:
        UserError: there is none.
    """
    tasks = [task for task in read_tasks(folder or ANSWERS) if task.kind == "answer"]
    if not tasks:
        raise UserError(f"no task in {folder} has the kind 'answer'; leave --suite away to run what there is")
    return tasks


def built(source: Path, out: Path, **how: Any) -> Sequence[TaskMade]:
    """What `mutants.build_tasks` makes.

    Raises:
        UserError: libcst is not installed, or nothing can be made of the tree.
    """
    if importlib.util.find_spec("libcst") is None:
        raise UserError('making mutants needs libcst; install it with: pip install "kat-pilot[eval]"')
    from assistant.evaluation.mutants import build_tasks

    return build_tasks(source, out, **how)


def mutants(
    source: Path,
    kept: Path,
    *,
    seed: int,
    count: int,
    jobs: int = 1,
    say: Callable[[str], None] = lambda _: None,
    build: Callable[..., Sequence[object]] = built,
) -> list[Task]:
    """Up to `count` tasks made of the tree `source` by mistakes put into its code; made once, then kept in `kept`.

    They are all there or none is: what was only begun is made anew. `say` gets a line for each that is made.

    Raises:
        UserError: they cannot be made.
    """
    if not source.is_dir():
        raise UserError(f"{source} is no folder; name the source tree with --from DIR")
    digest = folder_digest(source.resolve())[:12]
    place = kept / f"{source.resolve().name}-{seed}-{count}-{digest}"
    if not place.is_dir():
        say(f"making up to {count} tasks of {source}")
        kept.mkdir(parents=True, exist_ok=True)
        remove_abandoned(kept)
        with private_folder(kept) as folder:
            begun = folder / "tasks"
            begun.mkdir()
            if not build(source, begun, seed=seed, count=count, jobs=jobs, watch=lambda made: say(_line(made))):
                raise UserError(
                    f"no mistake in {source} would be noticed by its tests; name one whose tests run it all"
                )
            with suppress(OSError):  # another run may have made the same tasks meanwhile
                begun.rename(place)
    return read_tasks(place)


def _line(made: TaskMade) -> str:
    return f"made {made.id}: {made.path} line {made.line}"
