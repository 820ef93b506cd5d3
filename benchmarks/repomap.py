"""The repository map beside aider's, on all sources of Django and on half of them, with the same budget of tokens.

- cold: nothing is kept; warm: in the same session with another focus, and opened anew; after a change of one file
- each on the clock and in seconds of the processor, its child processes included: the clock counts what others do, too
- aider runs in an environment of its own: `--aider PYTHON`, or `KAT_AIDER`, else one is made in the cache folder
- tokens are counted alike for both, as words and marks; both get the same files, and the same cores
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

from assistant.workspace.files import Workspace
from assistant.workspace.names import Focus
from assistant.workspace.repomap import RepoMap, first_map

SOURCES = "django>=5.2,<5.3"
AIDER = "aider-chat==0.86.2"
BUDGET = 1024
ROUNDS = 10
LIMITS = {"warm, another focus": 0.150, "warm, opened anew": 0.150, "change, told by an event": 0.050}
"""Seconds that these may take on the clock of a machine that does nothing else."""
HALF = ["django/**/*.py", "tests/[a-d]*/**/*.py"]
CHANGED = "django/forms/models.py"
QUESTION = "why does ModelForm.clean() in django/forms/models.py lose errors?"
THEIRS = r"""
import json, os, re, sys, time
sys.path.pop(0)

class Model:
    def token_count(self, text):
        return len(re.findall(r"\w+|[^\w\s]", text))

class Quiet:
    def tool_output(self, *_, **__): pass
    tool_warning = tool_error = tool_output
    def read_text(self, path, *_, **__):
        with open(path, errors="replace") as file:
            return file.read()

root, changed, budget, names = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
os.chdir(root)
def times():
    return [time.perf_counter(), time.process_time()]

costs, start = {}, times()
def done(name):
    costs[name] = [now - before for now, before in zip(times(), start)]

from aider.repomap import RepoMap
done("import")
files = [os.path.join(root, line) for line in open(names).read().splitlines()]
ours = RepoMap(budget, root, Model(), Quiet(), refresh="always")
for name in ("cold", "warm", "change"):
    if name == "change":
        with open(changed, "a") as file:
            file.write("\n\ndef changed():\n    pass\n")
    start = times()
    ours.get_repo_map([], files)
    done(name)
print(json.dumps(costs))
"""


def count(text: str) -> int:
    """Tokens, as words and marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def cache_folder() -> Path:
    """Where downloads and aider's environment are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kat-pilot-benchmarks"


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: seconds on the clock, and of the processor."""

    wall: float
    cpu: float


def sources(kept: Path, folder: Path) -> Path:
    """The unpacked sources in `folder`."""
    if not list(kept.glob("django-*.tar.gz")):
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*pip, "--no-build-isolation", "-d", str(kept), SOURCES], check=True)
    with tarfile.open(next(iter(kept.glob("django-*.tar.gz")))) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.glob("django-*") if path.is_dir())


def half(root: Path, folder: Path) -> Path:
    """A part of the sources in a folder of its own."""
    for path in (path for pattern in HALF for path in root.glob(pattern)):
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder


def commit(root: Path) -> None:
    """Make a repository of a folder, with all its files committed."""
    user = ["-c", "user.name=b", "-c", "user.email=b@b"]
    for command in (["init", "-q"], ["add", "-A"], [*user, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=root, check=True)


def aider_python(named: str | None, kept: Path) -> str | None:
    """A Python that has aider; one is made if none is named. None, with a line that says why, if it cannot be."""
    if named:
        return named
    python = kept / "aider" / "bin" / "python"
    if not python.exists():
        try:
            venv.create(kept / "aider", with_pip=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", AIDER], check=True, timeout=600)
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(kept / "aider", ignore_errors=True)
            print(f"  aider is left out: no environment could be made for it ({type(error).__name__})")
            return None
    return str(python)


def theirs(python: str, root: Path, names: Path) -> dict[str, Cost]:
    """What aider's map costs, in a process of its own. `names` is a file to list the sources in."""
    names.write_text("\n".join(path for path in Workspace(root).git.files() if path.endswith(".py")))
    arguments = [str(root), CHANGED, str(BUDGET), str(names)]
    command = [python, "-W", "ignore", "-c", THEIRS, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return {name: Cost(*cost) for name, cost in json.loads(done.stdout.splitlines()[-1]).items()}


def ours(root: Path, cache: Path, processes: int) -> dict[str, Cost]:
    """What our map costs; what is repeated is a median."""
    workspace, asked = Workspace(root), Focus(QUESTION)
    cold = RepoMap(workspace, cache, processes=processes)
    costs = {"cold": timed(lambda: cold.now(BUDGET, Focus(), count))}
    time.sleep(0.1)  # a file written this very moment is not trusted
    cold.now(BUDGET, Focus(), count)
    session, foci = RepoMap(workspace, cache), [Focus(opened=[CHANGED]), asked]
    session.now(BUDGET, foci[0], count)
    costs["warm, another focus"] = median(lambda n: session.now(BUDGET, foci[n % 2], count))
    costs["warm, opened anew"] = median(lambda _: RepoMap(workspace, cache).now(BUDGET, Focus(), count))
    costs["opened anew, first question"] = median(lambda _: RepoMap(workspace, cache).now(BUDGET, asked, count))
    costs["change, found by looking"] = median(lambda _: session.now(BUDGET, Focus(), count), lambda n: change(root, n))
    return costs | watched(session, root, foci)


def watched(session: RepoMap, root: Path, foci: list[Focus]) -> dict[str, Cost]:
    """What it costs where the system tells of changes; the wait for its word is not counted."""

    def before(number: int) -> None:
        change(root, ROUNDS + number)
        time.sleep(0.5)

    session.watch()
    try:
        time.sleep(3)
        session.now(BUDGET, Focus(), count)
        warm = median(lambda n: session.now(BUDGET, foci[n % 2], count))
        return {
            "warm, another focus, watched": warm,
            "change, told by an event": median(lambda _: session.now(BUDGET, Focus(), count), before),
        }
    finally:
        session.close()


def change(root: Path, number: int) -> None:
    """One function more in one file."""
    with (root / CHANGED).open("a") as file:
        file.write(f"\n\ndef changed_{number}():\n    return {number}\n")


def timed(action: Callable[[], object]) -> Cost:
    """What an action costs."""
    wall, cpu = time.perf_counter(), processor()
    action()
    return Cost(time.perf_counter() - wall, processor() - cpu)


def processor() -> float:
    """Seconds of the processor that this process and its children took until now, those that run included (Linux)."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    tasks = Path("/proc/self/task")
    running = [pid for task in tasks.glob("*/children") for pid in task.read_text().split()]
    clocks = (~int(pid) << 3 | 2 for pid in running)  # the clock of another process, as clock_getcpuclockid(3) gives it
    return sum(one.ru_utime + one.ru_stime for one in used) + sum(map(time.clock_gettime, clocks))


def median(action: Callable[[int], object], before: Callable[[int], object] = lambda _: None) -> Cost:
    """The medians of an action; `before` is not counted."""
    costs = []
    for number in range(ROUNDS):
        before(number)
        costs.append(timed(lambda n=number: action(n)))  # type: ignore[misc]
    return Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.cpu for cost in costs))


def show(name: str, cost: Cost, beside: Cost | None = None, limit: float | None = None) -> None:
    """One line, and how it stands to aider and to its limit."""
    ratio = f", {cost.wall / beside.wall:6.3f} of aider's" if beside else ""
    print(f"  {name:46} {1000 * cost.wall:9.1f} ms, processor {1000 * cost.cpu:9.1f}{ratio}", end="")
    if limit:
        met = ["met" if seconds < limit else "NOT MET" for seconds in (cost.wall, cost.cpu)]
        print(f", limit {1000 * limit:.0f}: {met[0]}, processor {met[1]}", end="")
    print(flush=True)


def compare(root: Path, folder: Path, python: str | None) -> None:
    """Measure and print, on one repository."""
    commit(root)
    files = sum(path.endswith(".py") for path in Workspace(root).git.files())
    print(f"{files:,} Python files, {BUDGET:,} tokens")
    beside = theirs(python, root, folder / "names") if python else {}
    for key, cost in beside.items():
        show(f"aider, {key}", cost)
    for processes in (1, 2):
        found = ours(root, folder / f"{root.name}-{processes}", processes)
        for key, cost in found.items() if processes == 2 else [("cold", found["cold"])]:
            kind, name = key.split(",")[0], f"ours, {processes} process{'es' * (processes > 1)}, {key}"
            show(name, cost, beside.get(kind), LIMITS.get(key))
    first = timed(lambda: first_map(Workspace(root), folder / f"{root.name}-first", BUDGET, count, 1.0))
    show("ours, first map with nothing kept, limit 1 s", first)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aider", default=os.environ.get("KAT_AIDER"), help="a Python that has aider-chat")
    named, kept = parser.parse_args().aider, cache_folder()
    kept.mkdir(parents=True, exist_ok=True)
    print(machine())
    python = aider_python(named, kept)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = sources(kept, folder)
        for one in (half(root, folder / "half"), root):
            compare(one, folder, python)


if __name__ == "__main__":
    main()
