"""Compiled files: shown to each run, never taken for those of other files, and not a run's to change."""

import asyncio
import importlib.util
import marshal
import os
import time
from pathlib import Path

import pytest

from assistant.fix.changes import Change, Changes, FileState
from tests.training.small_source import TEST, small_source
from training.data.repositories.compiled import _Found, prune, with_compiled
from training.data.repositories.suites import suite

TOTAL = "python -c 'import shop; print(shop.total([2, 2], 1))'"
TAKEN = "python -v -c 'import shop' 2>&1 | grep -c 'shop.*matches'"


NOTHING = Changes()


def said(tests, changes=NOTHING, command=TOTAL):
    return asyncio.run(tests.bench.tests(changes, command=command)).output


@pytest.fixture
def tests(tmp_path):
    root = Path(small_source(tmp_path).root)
    with suite(root, TEST) as found:
        if not found.bench.sandbox.moves:
            pytest.skip("no sandbox in which files lie at the same place each time")
        yield asyncio.run(with_compiled(found, tmp_path / "cache"))


def shop(tests, text):
    old = FileState(Path(tests.bench.workspace.root, "shop.py").read_bytes())
    return Changes.of([Change("shop.py", old, FileState(text))])


def test_a_changed_file_is_never_run_as_it_was_compiled_before(tests, tmp_path):
    root = tests.bench.workspace.root
    (place,) = tests.bench.views.under
    names = sorted(path.name.partition(".")[0] for path in place.rglob("*.pyc"))
    assert (names, sorted(path.name for path in root.iterdir())) == (["shop", "test_shop"], ["shop.py", "test_shop.py"])
    assert (said(tests, command=TAKEN), said(tests)) == ("1\n", "3\n")
    right = (root / "shop.py").read_bytes()
    wrong = right.replace(b"- free", b"+ free")
    for age in (0, 10**9, 4 * 10**9):
        os.utime(root / "shop.py", (age, age)) if age else None
        changes = shop(tests, wrong)
        assert (said(tests, changes, TAKEN), said(tests, changes)) == ("0\n", "5\n")
    assert asyncio.run(tests.run(shop(tests, wrong))).failed == ("test_shop.py::test_free",)
    again = asyncio.run(with_compiled(tests, tmp_path / "cache"))
    assert again.bench.views.under != (place,)


def test_a_run_may_write_there_and_nobody_else_sees_it(tests):
    (place,) = tests.bench.views.under
    before = {path: path.read_bytes() for path in place.rglob("*.pyc")}
    spoil = "for each in __pycache__/*.pyc; do echo spoilt > $each || exit 1; done; rm -r __pycache__ && echo gone"
    assert said(tests, command=spoil) == "gone\n"
    assert {path: path.read_bytes() for path in place.rglob("*.pyc")} == before
    assert len(asyncio.run(tests.run()).passed) == 4


def test_what_would_be_taken_unseen_is_not_kept(tmp_path):
    root, folder = tmp_path / "root", tmp_path / "run"
    (folder / "__pycache__").mkdir(parents=True)
    root.mkdir()
    (root / "a.py").write_text("A = 1\n")
    code = importlib.util.MAGIC_NUMBER, marshal.dumps(compile("A = 2", "a.py", "exec"))
    info = (root / "a.py").stat()
    stamp = b"".join(number.to_bytes(4, "little") for number in (0, int(info.st_mtime), info.st_size))
    made = {
        "a.cpython-311.pyc": stamp,
        "a.cpython-312.pyc": stamp[:4] + b"0000" + stamp[8:],
        "a.cpython-313.pyc": (1).to_bytes(4, "little") + b"8 bytes.",
        "a.cpython-311-pytest-9.2.0.pyc": (3).to_bytes(4, "little") + b"8 bytes.",
        "b.cpython-311.pyc": stamp,
        "a.pyc": stamp,
    }
    for name, header in made.items():
        (folder / "__pycache__" / name).write_bytes(code[0] + header + code[1])
    (folder / "__pycache__/a.cpython-310.pyc").symlink_to("a.cpython-311.pyc")
    os.mkfifo(folder / "__pycache__/a.cpython-39.pyc")
    found = _Found(root)
    found.take(folder)
    assert [Path(change.path).name for change in found.changes] == [
        "a.cpython-311-pytest-9.2.0.pyc",
        "a.cpython-311.pyc",
    ]


def test_what_nobody_wanted_for_longest_goes_first(tmp_path):
    for age in range(6):
        place = tmp_path / f"compiled-{age}"
        (place / "__pycache__").mkdir(parents=True)
        os.utime(place, (time.time() - age * 1000,) * 2)
    prune(tmp_path, most=2, age=3500)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compiled-0", "compiled-1", "compiled-2", "compiled-3"]
    prune(tmp_path, most=2, age=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compiled-0", "compiled-1"]
