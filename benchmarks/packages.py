"""Fetches ten small packages with their tests from PyPI, and makes five tasks of each by a small mistake in the code.

    python benchmarks/packages.py [--only NAME] [--count 5] [--seed 1] [--jobs 2]

The sources are those that their authors published, pinned by version and SHA-256, all under the MIT or a BSD licence.
Everything lies in build/packages (not in the repository): `downloads`, `source`, `venv` with what the tests need, and
`tasks`, a folder a task with `truth.json` beside what `kat fix --tasks` and `kat eval` read. What stands there already
is not made again. Where all this lies in the home directory, which the sandbox hides, VIRTUAL_ENV=build/packages/venv
(an absolute path) lets `kat` see that environment; the benchmarks set it themselves.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build/packages"
TASKS = FOLDER / "tasks"
DOWNLOADS, SOURCES, VENV = FOLDER / "downloads", FOLDER / "source", FOLDER / "venv"
PYTHON = VENV / "bin/python"
NEEDED = (
    "freezegun==1.5.5",
    "iniconfig==2.3.1",
    "packaging==26.3",
    "pluggy==1.7.0",
    "Pygments==2.21.0",
    "pytest==9.2.0",
    "python-dateutil==4.0.0",
    "tzdata==2026.6",
)
"""What the tests need; none of the ten packages, so that only the task's own files can be imported."""

SETTINGS = {"pytest.ini": "", "pyproject.toml": "[tool.pytest", "tox.ini": "[pytest]", "setup.cfg": "[tool:pytest]"}
"""Where pytest may find its settings; a package without any gets empty ones, or those of a folder above would count."""


@dataclass(frozen=True, slots=True)
class Package:
    """A source distribution, and what pytest is told besides."""

    name: str
    version: str
    sha256: str
    options: str = ""

    @property
    def file(self) -> str:
        """The name of the distribution."""
        return f"{self.name}-{self.version}.tar.gz"

    @property
    def source(self) -> Path:
        """Where it is unpacked; tasks are named after this folder."""
        return SOURCES / self.name

    @property
    def test(self) -> str:
        """The command that runs its tests."""
        return f"{PYTHON} -m pytest -q {self.options}".strip()


_SRC = "-o pythonpath=src"
PACKAGES = (
    Package("addict", "2.4.0", "b3b2210e0e067a281f5646c8c5db92e99b7231ea8b0eb5f74dbdf9e259d4e494"),
    Package("cachetools", "8.0.1", "deb1d376d4d28c2f33f3e3058043b005e0af75c35c094bd54053e27d2906ad95", _SRC),
    Package("inflection", "0.5.1", "1a29730d366e996aaacffb2f1f1cb9593dc38e2ddd30c91250c6dde09ea9b417"),
    Package("itsdangerous", "2.2.0", "e0050c0b7da1eea53ffaf149c0cfbb5c6e2e2b69c4bef22c81fa6eb73e5f6173", _SRC),
    Package("parse", "1.22.4", "706d458feed5a81b02768d3156e8070baf6cee7d150a3a3c0cd43101a875c3b5", "-o addopts="),
    Package("tabulate", "0.10.0", "e2cfde8f79420f6deeffdeda9aaec3b6bc5abce947655d17ac662b126e48a60d"),
    Package("texttable", "1.7.2", "dc16ea6b35fbf5291ba6ef79d79e37d9b3ca6acd7bae3ca3450488d7c2e19c99", "tests.py"),
    Package("tinydb", "4.9.0", "6928b1fa785186bda7952a0ba05aaeedc883ede565ca9c7d608de44e5e75de70"),
    Package("webcolors", "25.10.0", "62abae86504f66d0f6364c2a8520de4a0c47b80c03fc3a5f1815fedbef7c19bf", _SRC),
    Package("xmltodict", "1.0.4", "6d94c9f834dd9e44514162799d344d815a3a4faec913717a9ecbfa5be1bb8e61"),
)


def main() -> None:
    """Make what is missing, and say what each task is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[package.name for package in PACKAGES])
    parser.add_argument("--count", type=int, default=5, help="tasks of each package")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="runs of tests at a time")
    parser.add_argument("--again", action="store_true", help="make the tasks anew")
    arguments = parser.parse_args()
    packages = [package for package in PACKAGES if not arguments.only or package.name in arguments.only]
    show_environment()
    fetch(packages)
    environment()
    total = sum(make(package, arguments) for package in packages)
    print(f"{total} tasks in {TASKS}")


def fetch(packages: list[Package]) -> None:
    """Download and unpack what is not there; no code of the packages is installed."""
    missing = [package for package in packages if not _whole(package)]
    for package in missing:
        print(f"fetching {package.file}", flush=True)
        wanted = FOLDER / "wanted.txt"
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        _pip(sys.executable, "download", "--no-deps", "--no-binary", ":all:", "-r", str(wanted), "-d", str(DOWNLOADS))
    for package in packages:
        if not package.source.is_dir():
            _unpack(package)


def environment() -> None:
    """The environment that all tests run in."""
    stamp = VENV / "needed.txt"
    needed = "\n".join(NEEDED)
    if stamp.is_file() and stamp.read_text() == needed:
        return
    print("making the environment for the tests", flush=True)
    venv.create(VENV, clear=True, with_pip=True)
    _pip(str(PYTHON), "install", "--no-deps", *NEEDED)
    stamp.write_text(needed)


def show_environment() -> None:
    """Let the sandbox show the environment, wherever it lies."""
    os.environ["VIRTUAL_ENV"] = str(VENV)


def make(package: Package, arguments: argparse.Namespace) -> int:
    """Make the tasks of a package, if they are not there; how many there are."""
    from assistant.evaluation.mutants import TaskMade, build_tasks

    there = [*TASKS.glob(f"{package.name}-{arguments.seed}-*/task.toml")]
    if len(there) >= arguments.count and not arguments.again:
        return len(there)
    started = time.monotonic()

    def show(made: TaskMade) -> None:
        took = time.monotonic() - started
        print(f"{took:6.1f} s  {made.id}  {made.path}:{made.line}  {made.operator}, {len(made.tests)} fail", flush=True)

    options = {"seed": arguments.seed, "count": arguments.count, "jobs": arguments.jobs}
    return len(build_tasks(package.source, TASKS, test=package.test, watch=show, **options))


def _whole(package: Package) -> bool:
    path = DOWNLOADS / package.file
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256


def _unpack(package: Package) -> None:
    if not _whole(package):
        sys.exit(f"{DOWNLOADS / package.file} is not the file that is meant; remove it and try again")
    folder = SOURCES / f".{package.name}"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(DOWNLOADS / package.file) as archive:
        archive.extractall(folder, filter="data")
    (inner,) = folder.iterdir()
    if not any(mark in (inner / name).read_text("utf-8") for name, mark in SETTINGS.items() if (inner / name).exists()):
        (inner / "pytest.ini").write_text("[pytest]\n")
    inner.rename(package.source)
    folder.rmdir()


def _pip(python: str, *arguments: str) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-input"]
    subprocess.run([python, "-m", "pip", arguments[0], *options, *arguments[1:]], check=True)


if __name__ == "__main__":
    main()
