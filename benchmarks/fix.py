"""What `kat fix` costs beside the model and the tests, on a repository of 20,000 files, in one run.

- seconds from the start of the process to the first token that is asked of the model (a scripted server; the tests of
  the repository take a moment and are run on the way)
- what an attempt costs, for each kind of view that works here: the view, what was changed in it, the patch, the layer
  for the tests, the tree of the receipt; beside `git worktree add` and `cp -r`, which a person would use instead

`python benchmarks/fix.py [FILES]`; one thread everywhere.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

if TYPE_CHECKING:
    from assistant.fix.views import Views

FILES = 20_000
SEED = 7
BYTES = 2_200
"""The smallest files; sizes follow a Pareto law from here, so that all take about 200 MB."""
LARGEST = 300_000
STARTS = 3
ROUNDS = {"overlay": 9, "reflink": 3, "copy": 2}
STEPS = ("view", "what changed", "patch and size", "layer for the tests", "tree of the receipt")
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
EDITED = "area1/package1/module1.py"
TEST = """import unittest

from wrong import double


class DoubleTest(unittest.TestCase):
    def test_double(self):
        self.assertEqual(double(2), 4)
"""


def repository(root: Path, files: int) -> None:
    """A repository of so many files of many sizes, all committed, and one test that fails."""
    chance = random.Random(SEED)
    words = ["".join(chance.choices("abcdefghijklmnop", k=7)) for _ in range(2_000)]
    for number in range(files):
        path = root / f"area{number % 20}" / f"package{number % 400}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = min(int(chance.paretovariate(1.2) * BYTES), LARGEST)
        line = f"# {number} {' '.join(chance.choices(words, k=8))}\n"
        path.write_text((line * (size // len(line) + 1))[:size])
    (root / "wrong.py").write_text("def double(number):\n    return number + 3\n")
    (root / "test_wrong.py").write_text(TEST)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "all")


def git(root: Path, *arguments: str) -> None:
    """Run git."""
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


class Watch:
    """Seconds of the steps of one attempt."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Time what is done inside."""
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start


def first_token(root: Path, home: Path) -> list[float]:
    """Seconds from the start of `kat fix` until a completion is asked for, of each of a few starts."""
    from model.engines.scripted import ScriptedServer

    environment = {**os.environ, **THREADS, "KAT_STATE": str(home / "state"), "KAT_CONFIG": str(home / "config")}
    found = []
    for _ in range(STARTS + 1):
        with ScriptedServer([{"reply": "I give up.", "times": 0}]) as server:
            start = time.perf_counter()
            command = [sys.executable, "-c", "from assistant.cli import main; main()", "fix", "--repo", root]
            command += ["--test", tests(), "--engine", server.url, "--candidates", "1", "--json"]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            while not server.requests and process.poll() is None:
                time.sleep(0.001)
            found.append(time.perf_counter() - start)
            said = process.communicate()[0]
            if not server.requests:
                raise RuntimeError(said[-500:].decode(errors="replace"))
    return found[1:]


def tests() -> str:
    """The test command."""
    return f"{shlex.quote(sys.executable)} -m unittest -v test_wrong"


def attempts(root: Path) -> dict[str, dict[str, float]]:
    """Seconds of each step of an attempt, by kind of view; to be called in a process that may enter namespaces."""
    from assistant.fix.namespace import enter
    from assistant.fix.views import Views, views

    enter(root, root)
    with views(root) as made:
        kinds = [Views(root, made.folder, kind) for kind in dict.fromkeys((made.kind, "copy"))]
        return {each.kind: medians([attempt(each, n) for n in range(ROUNDS[each.kind] + 1)]) for each in kinds}


def attempt(views: Views, number: int) -> dict[str, float]:
    """One attempt that changes one file."""
    from assistant.fix.changes import Changes
    from assistant.fix.trees import tree_of

    watch = Watch()
    with ExitStack() as stack:
        with watch("view"):
            view = stack.enter_context(views.view(Changes()))
        (view.root / EDITED).write_text(f"changed = '{views.kind} {number}'\n")
        with watch("what changed"):
            changes = view.changes()
        with watch("patch and size"):
            changes.patch()
            changes.size()
        with watch("layer for the tests"):
            stack.enter_context(views.layers(changes))
        with watch("tree of the receipt"):
            tree_of(views.repository, changes)
        later = stack.pop_all()
    with watch("taken away"):
        later.close()
    return watch.seconds


def by_hand(root: Path, place: Path, begin: Sequence[str], end: Sequence[str], number: int) -> dict[str, float]:
    """The same as people do it: a work tree of git, or a copy; the tests need no layer there."""
    watch = Watch()
    with watch("view"):
        subprocess.run(begin, cwd=root, check=True)
    (place / EDITED).write_text(f"changed = {number}\n")
    with watch("what changed"):
        git(place, "add", "-A")
    with watch("patch and size"):
        git(place, "diff", "--cached", "--binary", "HEAD")
    with watch("tree of the receipt"):
        git(place, "write-tree")
    with watch("taken away"):
        subprocess.run(end, cwd=root, check=True)
    return watch.seconds


def plainly(root: Path, place: Path) -> dict[str, dict[str, float]]:
    """Both ways by hand."""
    ways = {
        "git worktree add": (
            ["git", "worktree", "add", "-q", "--detach", str(place)],
            ["git", "worktree", "remove", "--force", str(place)],
        ),
        "cp -r": (["cp", "-r", str(root), str(place)], ["rm", "-rf", str(place)]),
    }
    rounds = range(ROUNDS["copy"] + 1)
    return {name: medians([by_hand(root, place, *way, n) for n in rounds]) for name, way in ways.items()}


def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each step; the first round is not counted."""
    return {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]}


def show(times: dict[str, dict[str, float]]) -> None:
    """A table in milliseconds: a column for each way, and each way's sum against the first."""
    names, steps = list(times), [*STEPS, "taken away"]
    print(f"  {'ms, median':22}" + "".join(f"{name:>18}" for name in names))
    for step in steps:
        print(f"  {step:22}" + "".join(f"{1000 * times[name].get(step, 0.0):18.1f}" for name in names))
    sums = {name: sum(times[name].values()) for name in names}
    print(f"  {'all':22}" + "".join(f"{1000 * sums[name]:18.1f}" for name in names))
    print(f"  {f'against {names[0]}':22}" + "".join(f"{sums[name] / sums[names[0]]:16.1f} x" for name in names))


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["attempts"]:
        print(json.dumps(attempts(Path(sys.argv[2]))))
        return
    files = int(sys.argv[1]) if sys.argv[1:] else FILES
    os.environ.update(THREADS)
    with tempfile.TemporaryDirectory(prefix="kat-benchmark-") as name:
        folder = Path(name)
        root = folder / "monorepo"
        repository(root, files)
        time.sleep(1.1)  # past the second in which git must look into every file
        size = sum(path.stat().st_size for path in root.glob("area*/**/*.py"))
        print(f"{files:,} files, {size / 1e6:.0f} MB, {machine()}")
        starts = first_token(root, folder)
        watch = Watch()
        with watch("tests"):
            subprocess.run(tests(), shell=True, cwd=root, capture_output=True, check=False)
        print(f"  start to first token asked: median {statistics.median(starts):.2f} s (each {_list(starts)});"
              f" the tests alone take {watch.seconds['tests']:.2f} s")  # fmt: skip
        command = [sys.executable, __file__, "attempts", str(root)]
        times: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        show(times | plainly(root, folder / "by-hand"))


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()
