"""What safety costs: a snapshot, a sandboxed command, a journal record, each beside the plain thing, in one run.

- a snapshot of a repository of 1,500 files after one change, beside `git add -A && git write-tree` in a temporary index
- `true` in the sandbox, and in a view that is thrown away, beside plain `subprocess`
- a journal record that is on the disk, beside a bare write and fsync
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

from assistant.safety.sandbox import Sandbox, detect
from assistant.sessions import Journal
from assistant.workspace.snapshots import Snapshots
from model.engine import EngineInfo

FILES = 1500
ROUNDS = 30


def in_turn(actions: dict[str, Callable[[int], object]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Milliseconds of each action, in turn, so that drift hits all alike; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action(number)
            if number:
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def show(title: str, times: dict[str, list[float]]) -> None:
    """Medians, and each against the last, which is the plain thing."""
    print(title)
    plain = statistics.median(list(times.values())[-1])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"  {name:44} median {median:7.2f} ms, 90th percentile {sorted(values)[int(len(values) * 0.9)]:7.2f} ms,"
              f" {median / plain:5.2f} x")  # fmt: skip


def repository(folder: Path) -> Path:
    """A repository of 1,500 source files of about 1.5 kB in 60 folders, all committed."""
    root = folder / "repository"
    for number in range(FILES):
        path = root / f"package{number % 60}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"value_{number}_{line} = {line}\n" for line in range(60)))
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-qm", "all"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    return root


def snapshots(folder: Path, root: Path) -> None:
    """After one change: ours, and plain git in an index of its own."""
    ours = Snapshots(root, folder / "store")
    plain = {**os.environ, "GIT_INDEX_FILE": str(folder / "index")}
    time.sleep(1.1)  # past the second in which git must look into every file

    def changed(number: int) -> None:
        (root / "package1/module1.py").write_text(f"changed = {number}, {time.time_ns()}\n")

    def take(number: int) -> None:
        ours.take()

    def git(number: int) -> None:
        for command in (["add", "-A"], ["write-tree"]):
            subprocess.run(["git", *command], cwd=root, env=plain, check=True, stdout=subprocess.PIPE)

    times: dict[str, list[float]] = {"snapshot": [], "git add -A && git write-tree": []}
    for number in range(ROUNDS + 1):
        for name, action in (("snapshot", take), ("git add -A && git write-tree", git)):
            changed(number)
            start = time.perf_counter()
            action(number)
            if number:
                times[name].append(1000 * (time.perf_counter() - start))
    show(f"snapshot of {FILES:,} files after one change", times)
    ours.close()


def sandboxed(root: Path) -> None:
    """A command that does nothing."""
    sandbox = detect(root)
    with asyncio.Runner() as runner:

        def run(throwaway: bool) -> Callable[[int], object]:
            return lambda _: runner.run(_true(sandbox, throwaway=throwaway))

        actions: dict[str, Callable[[int], object]] = {
            f"sandbox ({sandbox.tier})": run(False),
            "sandbox, view thrown away": run(True),
            "subprocess": lambda _: subprocess.run(["/bin/sh", "-c", "true"], check=True),
        }
        show("a command that does nothing", in_turn(actions))


async def _true(sandbox: Sandbox, *, throwaway: bool) -> None:
    result = await sandbox.run("true", timeout=20, throwaway=throwaway)
    if result.exit_code:
        raise RuntimeError(result.output)


def journal(folder: Path, root: Path) -> None:
    """A record of 300 bytes, on the disk when the call returns."""
    ours = Journal.create(folder / "sessions", root, EngineInfo("scripted", "kat", "kat", 8192, "a benchmark"))
    arguments = {"path": "package1/module1.py", "old": "x" * 100, "new": "y" * 100}
    descriptor = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def record(number: int) -> None:
        ours.append("intent", sync=True, id=f"{number}.1", tool="edit_file", arguments=arguments)

    def bare(number: int) -> None:
        os.write(descriptor, b"x" * 300 + b"\n")
        os.fsync(descriptor)

    show("a journal record with fsync", in_turn({"journal": record, "write and fsync": bare}, rounds=100))
    os.close(descriptor)
    ours.close()


def main() -> None:
    """Measure and print."""
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = repository(folder)
        snapshots(folder, root)
        sandboxed(root)
        journal(folder, root)


if __name__ == "__main__":
    main()
