"""Tasks that must not get into the data are refused with the reason, from one end to the other."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tests.training.records import RIGHT, WRONG, task
from training.data.guards.duplicates import Duplicates
from training.data.guards.leaks import Leaks
from training.data.guards.scrub import Scrub
from training.data.guards.splits import Splits
from training.data.repositories.diffs import unified
from training.data.schema import Provenance, Refused, Source, Task
from training.data.stage import Context
from training.data.verify import Verify

TESTS = """\
import os

from pack.best import largest


def test_largest():
    assert largest([3, 1], 9) == 3


def test_none():
    assert largest([], 9) == 0


def test_limit():
    assert largest([], -1) == -1


def test_sometimes():
    assert os.environ["PYTHONHASHSEED"] == "1"
"""
KEY = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3hJ6"
TOLD = "The largest of several values is 0, whatever they are; it should be the greatest of them, up to the limit."


def _source(root: Path) -> Source:
    for path in ("pack/best.py", "pack/again.py", "pack/other.py"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(RIGHT)
    (root / "pack/__init__.py").touch()
    (root / "tests").mkdir()
    (root / "tests/test_best.py").write_text(TESTS)
    return Source("pack", str(root), "sha256:1", test=f"{sys.executable} -m pytest -q -p no:cacheprovider")


def _sabotaged() -> list[Task]:
    """A good task, which is held out, and one of each kind of bad ones."""
    keyed = WRONG.replace("    best = 0\n", f'    best, key = 0, "{KEY}"\n')
    easy = unified("tests/test_best.py", TESTS, TESTS.replace("== 3\n\n", "== 0\n\n"))
    fix = unified("pack/best.py", WRONG, RIGHT)
    told = task("held-out", TOLD, provenance=Provenance("pack", "sha256:1", "2026-06-01", "pack/best.py", "largest"))
    other = Provenance("pack", "sha256:1", "2024-01-01", "pack/other.py", "largest")
    return [
        replace(told, kind="invented", fail_to_pass=()),
        task("flaky", "It fails on some days.", fail_to_pass=("tests/test_best.py::test_sometimes",), provenance=other),
        task("leak", "largest is wrong; it needs `if value > best:` there.", provenance=other),
        task("secret", "The key is lost.", start=unified("pack/best.py", RIGHT, keyed), provenance=other),
        replace(task("overlap", TOLD.replace("several", "many"), "pack/again.py"), fail_to_pass=()),
        task("tampered", "The tests are too strict.", solution=fix + easy, provenance=other),
    ]


def _through(tasks: Iterable[Task], source: Source, cache: Path) -> tuple[list[Task], dict[str, str]]:
    """What is left after all stages, and why each other task went."""
    context, refused = Context(cache), dict[str, str]()
    guards = (Leaks(), Scrub(), Splits(newer="2026-01-01", valid=0), Duplicates(), Verify(sources=(source,)))
    left = list(tasks)
    for stage in guards:
        found = [*stage(left, context)]  # type: ignore[arg-type]
        refused |= {each.id: each.reason for each in found if isinstance(each, Refused)}
        left = [each for each in found if isinstance(each, Task)]
    return left, refused


def test_sabotaged_tasks_are_all_refused_with_the_reason(tmp_path: Path) -> None:
    source = _source(tmp_path / "source")
    left, refused = _through(_sabotaged(), source, tmp_path / "cache")
    assert refused == {name: name for name in ("flaky", "leak", "secret", "overlap", "tampered")}
    assert [(each.id, each.split, each.fail_to_pass) for each in left] == [
        ("held-out", "test", ("tests/test_best.py::test_largest",))
    ]
    assert KEY not in repr(refused)
