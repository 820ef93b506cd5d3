"""The repository map beside aider's, on the sources of Django (2,800 Python files), with the same budget of tokens.

- cold: nothing is kept; warm: opened anew, and in the same session with another focus; after a change of one file
- aider runs in an environment of its own: `--aider PYTHON`, or `KAT_AIDER`, else one is made in the cache folder
- tokens are counted alike for both, as words and marks; both get the same files, and the same cores
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from collections.abc import Callable
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
start = time.perf_counter()
from aider.repomap import RepoMap
seconds = {"import": time.perf_counter() - start}
files = [os.path.join(root, line) for line in open(names).read().splitlines()]
ours = RepoMap(budget, root, Model(), Quiet(), refresh="always")
for name in ("cold", "warm", "change"):
    if name == "change":
        with open(changed, "a") as file:
            file.write("\n\ndef changed():\n    pass\n")
    start = time.perf_counter()
    ours.get_repo_map([], files)
    seconds[name] = time.perf_counter() - start
print(json.dumps(seconds))
"""


def count(text: str) -> int:
    """Tokens, as words and marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def cache_folder() -> Path:
    """Where downloads and aider's environment are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kat-pilot-benchmarks"


def sources(kept: Path, folder: Path) -> Path:
    """The unpacked sources, all committed, in `folder`."""
    if not list(kept.glob("django-*.tar.gz")):
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*pip, "--no-build-isolation", "-d", str(kept), SOURCES], check=True)
    with tarfile.open(next(iter(kept.glob("django-*.tar.gz")))) as archive:
        archive.extractall(folder, filter="data")
    root = next(path for path in folder.glob("django-*") if path.is_dir())
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "all"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


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


def theirs(python: str, root: Path, folder: Path) -> dict[str, float]:
    """Seconds of aider's map, in a process of its own."""
    names = folder / "names"
    names.write_text("\n".join(path for path in Workspace(root).git.files() if path.endswith(".py")))
    arguments = [str(root), CHANGED, str(BUDGET), str(names)]
    command = [python, "-W", "ignore", "-c", THEIRS, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def ours(root: Path, cache: Path, processes: int) -> dict[str, float]:
    """Seconds of our map; what is repeated is a median."""
    workspace, asked = Workspace(root), Focus(QUESTION)
    cold = RepoMap(workspace, cache, processes=processes)
    seconds = {"cold": timed(lambda: cold.now(BUDGET, Focus(), count))}
    time.sleep(0.1)  # a file written this very moment is not trusted
    cold.now(BUDGET, Focus(), count)
    again = [RepoMap(workspace, cache) for _ in range(ROUNDS)]
    seconds["warm, opened anew"] = median(lambda n: again[n].now(BUDGET, Focus(), count))
    seconds["opened anew, first question"] = median(lambda n: RepoMap(workspace, cache).now(BUDGET, asked, count))
    session = RepoMap(workspace, cache)
    foci = [Focus(opened=[CHANGED]), asked]
    session.now(BUDGET, foci[0], count)
    seconds["warm, another focus"] = median(lambda n: session.now(BUDGET, foci[n % 2], count))
    seconds["change, found by looking"] = median(
        lambda _: session.now(BUDGET, Focus(), count), lambda n: change(root, n)
    )
    seconds["change, told by an event"] = watched(session, root)
    return seconds


def watched(session: RepoMap, root: Path) -> float:
    """Seconds after a change of which the system has told; the wait for its word is not counted."""
    session.watch()
    time.sleep(3)
    session.now(BUDGET, Focus(), count)

    def before(number: int) -> None:
        change(root, ROUNDS + number)
        time.sleep(0.5)

    try:
        return median(lambda _: session.now(BUDGET, Focus(), count), before)
    finally:
        session.close()


def change(root: Path, number: int) -> None:
    """One function more in one file."""
    with (root / CHANGED).open("a") as file:
        file.write(f"\n\ndef changed_{number}():\n    return {number}\n")


def median(action: Callable[[int], object], before: Callable[[int], object] = lambda _: None) -> float:
    """Median seconds of an action; `before` is not counted."""
    values = []
    for number in range(ROUNDS):
        before(number)
        values.append(timed(lambda n=number: action(n)))  # type: ignore[misc]
    return statistics.median(values)


def show(name: str, seconds: float, beside: float | None = None) -> None:
    """One line, and how it stands to aider."""
    ratio = f", {seconds / beside:6.3f} of aider's" if beside else ""
    print(f"  {name:44} {1000 * seconds:9.1f} ms{ratio}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aider", default=os.environ.get("KAT_AIDER"), help="a Python that has aider-chat")
    named, kept = parser.parse_args().aider, cache_folder()
    kept.mkdir(parents=True, exist_ok=True)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = sources(kept, folder)
        files = sum(path.endswith(".py") for path in Workspace(root).git.files())
        print(f"{files:,} Python files, {BUDGET:,} tokens")
        python = aider_python(named, kept)
        beside = theirs(python, root, folder) if python else {}
        for key, seconds in beside.items():
            show(f"aider, {key}", seconds)
        for processes in (1, 2):
            found = ours(root, folder / f"cache{processes}", processes)
            for key, seconds in found.items() if processes == 2 else [("cold", found["cold"])]:
                show(
                    f"ours, {processes} process{'es' * (processes > 1)}, {key}", seconds, beside.get(key.split(",")[0])
                )
        first = timed(lambda: first_map(Workspace(root), folder / "first", BUDGET, count, 1.0))
        show("ours, first map with nothing kept, limit 1 s", first)


if __name__ == "__main__":
    main()
