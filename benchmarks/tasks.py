"""Tasks by mutation of three real packages: how many of the candidates hold, how long one takes, and whether they hold
again in a fresh copy of the package, fetched anew.

    python benchmarks/tasks.py [--only NAME] [--count 100] [--again 100] [--jobs 2] [--seed 1] [--folder build/tasks]

The sources are those that their authors published, pinned by version and SHA-256. All lies in `--folder`, which is not
in the repository: what is fetched, environments, and the tasks as `NAME.jsonl`. Environments and profiles are made
first and take part in no time that is printed.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from assistant.errors import UserError
from training.data.mutate import Mutate
from training.data.profile import Profile
from training.data.repositories.fetching import fetch
from training.data.schema import Source, Task, as_line
from training.data.stage import Context
from training.data.verify import Verify

PACKAGES = {
    "toolz": ("1.1.0", "27a5c770d068c110d9ed9323f24f1543e83b2f300a687b7891c1a6d56b697b5b"),
    "semver": ("3.0.4", "afc7d8c584a5ed0a11033af086e8af226a9c0b206f313e0301f8dd7b6b589602"),
    "humanize": ("4.14.0", "2fa092705ea640d605c435b1ca82b2866a1b601cdf96f076d70b79a855eba90d"),
}
"""None of those that `packages.py` makes tasks for evaluation of."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one package: tasks that hold, refusals by reason, and seconds."""

    source: Source
    tasks: list[Task]
    refused: Counter[str]
    seconds: float

    @property
    def row(self) -> str:
        """A line of the table."""
        tried, made = len(self.tasks) + self.refused.total(), len(self.tasks)
        each = self.seconds / made if made else float("nan")
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.refused.items()))
        share = made / tried if tried else 0.0
        return (
            f"{self.source.name:12}{len(self.source.passing):>7}{tried:>12}{made:>8}{share:>8.0%}"
            f"{each:>10.1f}{3600 / each if made else 0:>10.0f}  {reasons}"
        )


def main() -> None:
    """Make the tasks, print the table, and verify a sample of them anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*PACKAGES])
    parser.add_argument("--count", type=int, default=100, help="candidates of each package")
    parser.add_argument("--again", type=int, default=100, help="tasks that are verified anew")
    parser.add_argument("--jobs", type=int, default=2, help="runs of tests at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[1] / "build/tasks")
    arguments = parser.parse_args()
    names = arguments.only or [*PACKAGES]
    context = Context(arguments.folder / "cache", jobs=arguments.jobs)
    print(
        f"{'package':12}{'tests':>7}{'candidates':>12}{'hold':>8}{'yield':>8}{'s a task':>10}{'an hour':>10}  refused"
    )
    found = []
    for name in names:
        found.append(made(profiled(name, arguments.folder / "sources", context), arguments, context))
        print(found[-1].row, flush=True)
        lines = "".join(f"{as_line(task)}\n" for task in found[-1].tasks)
        (arguments.folder / f"{name}.jsonl").write_text(lines, "utf-8")
    again(found, arguments)


def profiled(name: str, folder: Path, context: Context) -> Source:
    """The package, fetched, with all that is known of its tests."""
    version, digest = PACKAGES[name]
    root = fetch(f"{name}=={version} {f'sha256:{digest}' if digest else ''}", folder)
    (source,) = Profile()([Source(name, str(root), "")], context)
    if not isinstance(source, Source):
        raise UserError(f"{name}: {source.reason}: {source.detail}")
    return source


def made(source: Source, arguments: argparse.Namespace, context: Context) -> Found:
    """The tasks of a package."""
    started = time.monotonic()
    candidates = Mutate(arguments.seed, arguments.count)([source], context)
    tasks, refused = _parted(
        Verify(sources=(source,))((task for task in candidates if isinstance(task, Task)), context)
    )
    return Found(source, tasks, refused, time.monotonic() - started)


def again(found: list[Found], arguments: argparse.Namespace) -> None:
    """Verify a random sample anew: package fetched again, environment and references made again, nothing kept."""
    tasks = [task for one in found for task in one.tasks]
    chosen = random.Random(arguments.seed).sample(tasks, min(arguments.again, len(tasks)))
    folder = arguments.folder / "anew"
    context = Context(folder / f"cache-{time.time_ns()}", jobs=arguments.jobs)
    names = sorted({task.provenance.source for task in chosen})
    sources = tuple(_fresh(name, folder / f"sources-{time.time_ns()}", context) for name in names)
    held, refused = _parted(Verify(sources=sources)(chosen, context))
    before = {task.id: as_line(task) for task in tasks}
    same = sum(as_line(task) == before[task.id] for task in held)
    print(f"verified anew: {len(chosen)}, hold: {len(held)}, the same record: {same}, {dict(refused)}")


def _fresh(name: str, folder: Path, context: Context) -> Source:
    source = profiled(name, folder, context)
    return replace(source, root=str(Path(source.root).resolve()))


def _parted(results: Iterable[object]) -> tuple[list[Task], Counter[str]]:
    tasks, refused = list[Task](), Counter[str]()
    for each in results:
        if isinstance(each, Task):
            tasks.append(each)
        else:
            refused[getattr(each, "reason", "?")] += 1
    return tasks, refused


if __name__ == "__main__":
    main()
