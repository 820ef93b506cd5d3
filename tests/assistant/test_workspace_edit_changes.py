"""Changes over several files: checked first, written then, and taken back if one cannot be."""

from pathlib import Path

import pytest

from assistant.workspace.changes import FileChange, Planner, apply_changes
from assistant.workspace.edit import Edit
from assistant.workspace.errors import ChangedError, WorkspaceError
from assistant.workspace.files import Workspace
from assistant.workspace.seen import Seen


@pytest.fixture
def planner(tmp_path: Path) -> Planner:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    (tmp_path / "b.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    (tmp_path / "a.txt").chmod(0o640)
    return Planner(Workspace(tmp_path), Seen())


def tree(planner: Planner) -> dict[str, tuple[bytes, int]]:
    files = [path for path in planner.workspace.root.rglob("*") if path.is_file()]
    return {path.name: (path.read_bytes(), path.stat().st_mode & 0o777) for path in files}


def changes(planner: Planner) -> list[FileChange]:
    return [
        planner.edit("a.txt", [Edit("one", "eins"), Edit("two", "zwei")]),
        planner.write("new.txt", "new\n"),
        planner.delete("b.txt"),
    ]


def test_all_are_written_in_the_form_they_had(planner: Planner) -> None:
    apply_changes(planner.workspace, changes(planner), planner.seen)
    after = tree(planner)
    assert after["a.txt"] == (b"\xef\xbb\xbfeins\r\nzwei\r\n", 0o640)
    assert after["new.txt"][0] == b"new\n"
    assert sorted(after) == ["a.txt", "new.txt"]


def test_nothing_is_written_if_one_file_changed_since_the_plan(planner: Planner) -> None:
    planned = changes(planner)
    (planner.workspace.root / "b.txt").write_text("somebody else\n")
    before = tree(planner)
    with pytest.raises(ChangedError, match=r"b\.txt changed while"):
        apply_changes(planner.workspace, planned, planner.seen)
    assert tree(planner) == before


def test_what_was_written_is_taken_back_when_a_later_write_fails(planner: Planner) -> None:
    blocked = FileChange("a.txt/below.txt", None, "x\n")
    before = tree(planner)
    with pytest.raises(WorkspaceError, match="not a directory"):
        apply_changes(planner.workspace, [*changes(planner), blocked], planner.seen)
    assert tree(planner) == before
    assert not planner.seen.knows("a.txt")
