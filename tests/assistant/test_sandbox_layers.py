"""Runs on a repository with changes laid over it, and views that commands see where the repository lies."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.safety.confinement.folders import FolderError
from assistant.safety.confinement.layering import lay_over, mark_gone, upper_parent
from assistant.safety.sandbox import Sandbox, Tier, detect
from assistant.testing.run import run_tests
from assistant.workspace.files import Workspace

HERE = detect(Path(__file__).parent)
needs_bubblewrap = pytest.mark.skipif(not HERE.moves, reason="bubblewrap does not work here")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "a, b:c \\ 中文"
    (path / "work").mkdir(parents=True)
    return path


@pytest.fixture
def repository(home: Path) -> Path:
    path = home / "work" / "re po,:中"
    (path / "d").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", path], check=True)
    for name, text in {"a": "old", "d/x": "x", "d/y": "y", "file": "file", "kept": "kept"}.items():
        (path / name).write_text(text)
    (path / "link").symlink_to("d")
    return path


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}


@pytest.fixture(params=["overlay", "bubblewrap", "landlock", "none"])
def sandbox(request: pytest.FixtureRequest, repository: Path, home: Path) -> Iterator[Sandbox]:
    kind = request.param
    tier: Tier = "bubblewrap" if kind == "overlay" else kind
    found = detect(repository, environ=environment(home), tiers=(tier,))
    if found.tier != tier or (kind == "overlay" and not found.overlay):
        pytest.skip(f"{kind} does not work here")
    before = contents(repository)
    yield replace(found, overlay=kind == "overlay")
    assert contents(repository) == before


def contents(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if ".git" not in path.parts)
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in files
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "lay,:er \\ 1", tmp_path / "layer2"
    (first / "file").mkdir(parents=True)
    (first / "file/inner").write_text("inner")
    (first / "link").mkdir()
    (first / "link/z").write_text("z")
    (first / "a").write_text("new")
    mark_gone(first, "d/x")
    mark_gone(first, "kept")
    second.mkdir()
    (second / "kept").write_text("kept after all")
    (second / "run").write_text(SCRIPT)
    (second / "run").chmod(0o755)
    return first, second


SCRIPT = "#!/bin/sh\necho ran\n"
LAID = {"a": "new", "d/y": "y", "file/inner": "inner", "kept": "kept after all", "link/z": "z", "run": SCRIPT}


def test_no_name_of_a_file_takes_another_away(tmp_path: Path) -> None:
    """Where no whiteout can be made, what is gone is a file that nobody may read, whatever it is called."""
    layer, copy = tmp_path / "layer", tmp_path / "copy"
    for folder in (layer, copy):
        folder.mkdir()
        (folder / "a").write_text("stays")
    (copy / "gone").write_text("goes")
    (layer / ".wh.a").write_text("a file like any other")
    (layer / "gone").touch(mode=0)
    lay_over(layer, copy)
    assert contents(copy) == {"a": "stays", ".wh.a": "a file like any other"}


async def test_layers_are_seen_in_order_and_what_was_written_is_harvested(
    sandbox: Sandbox, layers: tuple[Path, Path]
) -> None:
    command = 'cp -r . "$TMPDIR/seen" && rm -rf "$TMPDIR/seen/.git" && mv "$TMPDIR/seen" . && ./run'
    harvested: list[dict[str, str]] = []
    result = await sandbox.run(
        command,
        timeout=20,
        throwaway=True,
        layers=layers,
        env={"TMPDIR": "/tmp"} if sandbox.moves else {},
        harvest=lambda folder: harvested.append(contents(folder / "seen")),
    )
    assert (result.exit_code, result.output) == (0, "ran\n")
    assert harvested == [LAID]


@pytest.mark.parametrize("last", ["sleep 30", "exit 3"])
async def test_a_run_that_fails_or_takes_too_long_is_harvested_too(sandbox: Sandbox, last: str) -> None:
    seen: list[str] = []
    command = f"pwd; echo partial > report; rm d/y; {last}"
    result = await sandbox.run(
        command, timeout=3, throwaway=True, harvest=lambda folder: seen.append((folder / "report").read_text())
    )
    assert result.exit_code == (3 if "exit" in last else 124)
    assert seen == ["partial\n"]
    assert result.output == f"{result.place}\n"
    assert (result.place == sandbox.repository) is sandbox.moves


async def test_options_for_pytest_are_added_to_ours(repository: Path) -> None:
    sandbox = Sandbox(repository, "none", environment(repository))
    given = {"PYTEST_ADDOPTS": "-x", "COLUMNS": "80", "MORE": "1"}
    report = await run_tests(sandbox, Workspace(repository), 'echo "$PYTEST_ADDOPTS $COLUMNS $MORE"', env=given)
    assert report.output.startswith("-rA ")
    assert report.output.endswith(" -x 80 1\n")


@pytest.mark.parametrize("tier", ["bubblewrap", "landlock"])
async def test_a_hidden_folder_can_be_shown_for_reading(repository: Path, home: Path, tier: Tier) -> None:
    found = detect(repository, environ=environment(home), tiers=(tier,))
    if found.tier != tier:
        pytest.skip(f"{tier} does not work here")
    plugin = home / "plugin"
    plugin.mkdir()
    (plugin / "p.py").write_text("shown")
    command = ["/bin/sh", "-c", 'cat "$1"/p.py; : > "$1"/new', "sh", str(plugin)]
    assert "shown" not in (await found.run(command, timeout=10)).output
    assert "shown" in (await found.run(command, timeout=10, show=[plugin])).output
    assert [path.name for path in plugin.iterdir()] == ["p.py"]


@needs_bubblewrap
@pytest.mark.parametrize("throwaway", [True, False])
async def test_a_view_is_seen_where_the_repository_lies(
    repository: Path, home: Path, tmp_path: Path, throwaway: bool
) -> None:
    ours = repository / "conf"
    view = tmp_path / "view"
    subprocess.run(["cp", "-a", repository, view], check=True)
    for root in (repository, view):
        (root / "conf").mkdir()
        (root / "conf/key").write_text("sesame")
    (view / "a").write_text("of the view")
    sandbox = replace(detect(repository, environ=environment(home), config_dirs=[ours]), repository=view, at=repository)
    command = f"pwd; cat '{repository}/a'; echo; cat ../conf/key; ls -d '{view}'; echo y > y; touch ../.git/y"
    result = await sandbox.run(command, timeout=10, cwd=repository / "d", throwaway=throwaway)
    place, content, *refused = result.output.splitlines()
    assert (place, content) == (f"{repository}/d", "of the view")
    assert [line.rpartition(": ")[2] for line in refused] == [
        "No such file or directory",
        "No such file or directory",
        "Read-only file system",
    ]
    assert result.place == repository
    assert (repository / "d/y").read_text() == "y"
    assert (view / "d/y").read_text() == ("y" if throwaway else "y\n")
    assert not (view / ".git/y").exists()


async def test_neither_a_view_nor_its_repository_can_be_opened_for_writing(repository: Path, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "view", "none", environment(Path("/nowhere")), at=repository)
    (tmp_path / "view").mkdir()
    for folder in (repository / "d", repository.parent, tmp_path / "view", tmp_path):
        with pytest.raises(FolderError, match="repository"):
            await sandbox.run("true", timeout=5, write=[folder])


def test_where_overlays_keep_nothing_there_is_no_folder_for_them(repository: Path, tmp_path: Path) -> None:
    assert upper_parent(Path("/bin/false"), repository) is None
    if HERE.bwrap and HERE.overlay:
        found = upper_parent(HERE.bwrap, repository)
        assert found is not None
        assert upper_parent(HERE.bwrap, found) != found
