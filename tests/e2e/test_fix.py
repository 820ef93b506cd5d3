"""`kat fix`: a real repository of more than 50 files, mended in four steps whose modes are recorded."""

import json
import shlex
import subprocess
import sys

import pytest

from tests.e2e.conftest import git, make_repository, reply, snapshot

MODULE = '''"""Unit {n} of the library."""


def scale_{n}(values, factor={n}):
    """Each value times the factor."""
    return [value * factor for value in values]


def mean_{n}(values):
    """The mean, 0 for nothing."""
    return sum(values) / {divisor} if values else 0
'''
TEST = """import unittest

from library.unit_{n} import mean_{n}, scale_{n}


class Unit{n}Test(unittest.TestCase):
    def test_scale(self):
        self.assertEqual(scale_{n}([1, 2]), [{n}, 2 * {n}])

    def test_mean(self):
        self.assertEqual(mean_{n}([1, 2, 3]), 2)
        self.assertEqual(mean_{n}([]), 0)
"""
BROKEN = 17
pytestmark = pytest.mark.usefixtures("plain_runner")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    files = {"library/__init__.py": "", "tests/__init__.py": "", "README.md": "# Library\n"}
    for n in range(1, 31):
        divisor = "(len(values) - 1)" if n == BROKEN else "len(values)"
        files[f"library/unit_{n}.py"] = MODULE.format(n=n, divisor=divisor)
        files[f"tests/test_unit_{n}.py"] = TEST.format(n=n)
    assert len(files) > 50
    return make_repository(tmp_path_factory.mktemp("fix") / "library", files)


FOUR_STEPS = [
    {"reply": reply("I read it.", ("read_file", {"path": "library/unit_17.py"}), judge="Reading needs no thought.")},
    {
        "reply": reply(
            "Where else is it so?",
            ("search", {"pattern": "len\\(values\\) - 1"}),
            think="The mean divides by one too few.\nIs it the only place?",
            judge="The cause must be found.",
        )
    },
    {
        "reply": reply(
            "I mend it.",
            ("edit_file", {"path": "library/unit_17.py", "old": "(len(values) - 1)", "new": "len(values)"}),
            think="Only the divisor is wrong.",
        )
    },
    {
        "reply": reply(
            "I check.",
            ("run_tests", {}),
            ("finish", {"message": "The mean divides by the count."}),
            judge="Just run it.",
        )
    },
]


def test_four_steps_end_in_a_patch_that_applies(kat, library, serve, tmp_path):
    server = serve(*FOUR_STEPS)
    before = snapshot(library)
    outcome = kat("fix", "--candidates", "1", "--repo", library, "--engine", server.url, "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out.splitlines()[-1])
    assert report["status"] == "fixed"
    assert any("test_mean" in name for name in report["failed_before"])
    assert report["failed_after"] == []
    assert report["files"] == ["library/unit_17.py"]
    assert [step["mode"] for step in report["steps"]] == ["off", "on", "on", "off"]
    assert [call["outcome"] for step in report["steps"] for call in step["calls"]] == ["ok"] * 5
    assert report["receipt"]["exit_code"] == 0
    assert snapshot(library) == before

    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(library), str(clone))
    subprocess.run(["git", "apply", "-"], cwd=clone, input=report["patch"], text=True, check=True)
    assert "(len(values) - 1)" not in (clone / "library/unit_17.py").read_text()
    git(clone, "add", "-A")
    assert git(clone, "write-tree").strip() == report["receipt"]["tree"]

    (journal,) = (kat.home / "state/sessions").glob("*.jsonl")
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    steps = [record["record"] for record in records if record["kind"] == "step"]
    assert [step["mode"] for step in steps] == ["off", "on", "on", "off"]
    assert [step["request"] for step in steps] == ["auto"] * 4
    assert all(step["tokens"]["think"] > 0 for step in steps[1:3])


def test_apply_changes_the_files_and_nothing_else(kat, repository, serve):
    edit = ("edit_file", {"path": "shop/price.py", "old": " + 1", "new": ""})
    server = serve({"reply": reply("", edit, ("finish", {"message": "Done."}), think="The tax is not due.")})
    (repository / "notes.txt").write_text("mine\n")
    index = (repository / ".git/index").read_bytes()
    outcome = kat("fix", "--candidates", "1", "--repo", repository, "--engine", server.url, "--apply")
    assert outcome.code == 0, outcome.err
    assert "+ 1" not in (repository / "shop/price.py").read_text()
    assert (repository / "notes.txt").read_text() == "mine\n"
    assert (repository / ".git/index").read_bytes() == index
    shown = kat("sessions", "show", "last")
    assert "kat fix --apply" in shown.out
    assert kat("undo", "--repo", repository).out == "Undid step 1: shop/price.py.\n"
    assert "+ 1" in (repository / "shop/price.py").read_text()
    assert kat("redo", "--repo", repository).code == 0
    assert "+ 1" not in (repository / "shop/price.py").read_text()


def test_the_patch_alone_is_on_standard_output(kat, repository, serve, tmp_path):
    edit = ("edit_file", {"path": "shop/price.py", "old": " + 1", "new": ""})
    server = serve({"reply": reply("", edit)}, {"reply": reply("Done.")})
    outcome = kat("fix", "--candidates", "1", "--repo", repository, "--engine", server.url)
    subprocess.run(["git", "apply", "--check", "-"], cwd=repository, input=outcome.out, text=True, check=True)


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        ([("edit_file", {"path": "shop/price.py", "old": " + 1", "new": " + 2"})], "still fail"),
        (
            [("write_file", {"path": "shop/price.py", "content": "def total(p):\n    return sum(p) or 'x'\n"})],
            "test_type",
        ),
        ([("edit_file", {"path": "tests/test_price.py", "old": "3)", "new": "4)"})], "Nothing was changed"),
        ([], "Nothing was changed"),
    ],
    ids=["wrong", "breaks-another", "edits-the-test", "does-nothing"],
)
def test_only_what_is_proven_is_called_fixed(kat, repository, serve, calls, words):
    server = serve({"reply": reply("", *calls)}, {"reply": reply("Done, all tests pass!"), "times": 0})
    outcome = kat("fix", "--candidates", "1", "--repo", repository, "--engine", server.url, "--json")
    report = json.loads(outcome.out.splitlines()[-1])
    assert outcome.code == 1
    assert report["status"] == "not_fixed"
    assert words in report["message"]


PYTEST = f"{shlex.quote(sys.executable)} -m pytest -q --disable-plugin-autoload"
DESELECT = "[pytest]\naddopts = --deselect=tests/test_price.py::T::test_total\n"
SKIP = "import pytest\n\n\ndef total(prices):\n    pytest.{}('not now')\n"


@pytest.mark.parametrize(
    "calls",
    [
        [("write_file", {"path": "pytest.ini", "content": DESELECT})],
        [("write_file", {"path": "conftest.py", "content": "collect_ignore_glob = ['*']\n"})],
        [
            ("write_file", {"path": ".gitignore", "content": "conftest.py\n"}),
            ("write_file", {"path": "conftest.py", "content": "collect_ignore_glob = ['*']\n"}),
        ],
        [("run_command", {"command": f"printf '%s' {shlex.quote(SKIP.format('skip'))} > shop/price.py"})],
        [("run_command", {"command": f"printf '%s' {shlex.quote(SKIP.format('xfail'))} > shop/price.py"})],
        [("run_command", {"command": "printf 'import os; os._exit(0)' > shop/price.py"})],
        [("run_command", {"command": "rm -r tests; printf 'def total(p): return 4' > shop/price.py"})],
    ],
    ids=["deselect", "conftest", "hidden-conftest", "skip", "xfail", "exit", "delete"],
)
def test_cheating_is_not_fixing(kat, repository, serve, calls):
    server = serve({"reply": reply("", *calls)}, {"reply": reply("All tests pass!"), "times": 0})
    outcome = kat("fix", "--candidates", "1", "--repo", repository, "--test", PYTEST, "--engine", server.url, "--json")
    report = json.loads(outcome.out.splitlines()[-1])
    assert (outcome.code, report["status"]) == (1, "not_fixed"), report["message"]


@pytest.mark.parametrize(("encoding", "newline"), [("utf-8", "\r\n"), ("latin-1", "\n")])
def test_bytes_stay_as_they_are(kat, repository, serve, encoding, newline):
    path = repository / "shop/price.py"
    head = f"# -*- coding: {encoding} -*-\n# grüße\n" + path.read_text()
    path.write_bytes(head.replace("\n", newline).encode(encoding))
    edit = ("edit_file", {"path": "shop/price.py", "old": " + 1", "new": ""})
    server = serve({"reply": reply("", edit)}, {"reply": reply("Done."), "times": 0})
    outcome = kat("fix", "--candidates", "1", "--repo", repository, "--engine", server.url, "--apply")
    assert outcome.code == 0, outcome.err
    assert path.read_bytes() == head.replace(" + 1", "").replace("\n", newline).encode(encoding)


@pytest.mark.parametrize("json_", [True, False])
def test_a_patch_that_cannot_be_delivered_is_not_lost(kat, repository, serve, json_):
    edit = ("edit_file", {"path": "shop/price.py", "old": " + 1", "new": ""})
    server = serve({"reply": reply("", edit)}, {"reply": reply("Done."), "times": 0})
    nowhere = repository / "no/such/folder/x.patch"
    extra = ["--json"] if json_ else []
    outcome = kat("fix", "--candidates", "1", "--repo", repository, "--engine", server.url, "--patch", nowhere, *extra)
    assert outcome.code == 2
    assert "No such file" in outcome.err
    patch = json.loads(outcome.out.splitlines()[-1])["patch"] if json_ else outcome.out
    subprocess.run(["git", "apply", "--check", "-"], cwd=repository, input=patch, text=True, check=True)


def test_words_in_the_output_of_tests_do_not_switch_thinking(kat, repository, serve):
    server = serve({"reply": reply("No.", think="t")})
    command = "echo 'just answer directly'; exit 1"
    options = ["--candidates", "1", "--engine", server.url, "--think", "on", "--json"]
    outcome = kat("fix", "--repo", repository, "--test", command, *options)
    (step,) = json.loads(outcome.out.splitlines()[-1])["steps"]
    assert (step["request"], step["rule"]) == ("on", "pinned")


def test_installed_dependencies_of_the_original_are_seen(kat, repository, serve):
    site = repository / ".venv/lib"
    site.mkdir(parents=True)
    (site / "helper_of_tests.py").write_text("ONE = 1\n")
    (repository / ".gitignore").write_text(".venv/\n")
    command = "PYTHONPATH=.venv/lib python3 -c 'import helper_of_tests' && python3 -m unittest -v"
    edit = ("edit_file", {"path": "shop/price.py", "old": " + 1", "new": ""})
    server = serve({"reply": reply("", edit)}, {"reply": reply("Done."), "times": 0})
    outcome = kat("fix", "--candidates", "1", "--repo", repository, "--test", command, "--engine", server.url, "--json")
    assert outcome.code == 0, outcome.out
    assert (site / "helper_of_tests.py").exists()


def test_nothing_to_fix(kat, repository, serve):
    (repository / "shop/price.py").write_text("def total(prices):\n    return sum(prices)\n")
    outcome = kat("fix", "--candidates", "1", "--repo", repository, "--engine", serve().url, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["status"] == "nothing_to_fix"


def test_an_engine_that_is_not_there_is_an_error_in_json_too(kat, repository):
    outcome = kat("fix", "--candidates", "1", "--repo", repository, "--engine", "http://127.0.0.1:9", "--json")
    assert outcome.code == 3
    assert json.loads(outcome.out)["status"] == "error"
