"""The story and the marks: all that happened is in them, and nothing that others wrote is active in them."""

import io
import re
import secrets
import string
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typer.main import get_command

from assistant.commands.registry import app
from assistant.errors import UserError
from assistant.fix.annotations import annotated, hand_on, muted
from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.inert import code
from assistant.fix.places import Place, places
from assistant.fix.report import AttemptLine, FixReport, Receipt, SuspectLine
from assistant.fix.story import story
from assistant.records import CallOutcome, StepRecord, Tokens
from assistant.workspace.syntax import first_error
from model.format import Mode, ThinkRequest
from tests.e2e.conftest import ROOT

GITHUB = {"GITHUB_ACTIONS": "true"}
HOSTILE = [
    "</code><script>x</script>",
    "``` \n# heading\n[a](http://x)",
    "@everyone closes #1 http://x.y ![i](http://z)",
    "a\n::error::b",
    "::stop-commands::x",
    "%0A::add-mask::%25",
    "a,line=1::b",
    "kat\nEOF\nstatus=fixed",
    "\x1b]52;c;x\x07\u202e",
    "`a``b```",
    "\ud800",
]
_text = st.sampled_from(HOSTILE) | st.text(max_size=30)
_steps = st.builds(
    StepRecord,
    st.just(1),
    st.just(ThinkRequest.AUTO),
    _text,
    _text,
    st.sampled_from([Mode.ON, Mode.OFF, None]),
    st.booleans(),
    why=_text,
    calls=st.lists(st.builds(CallOutcome, _text, _text, st.just({}), _text), max_size=2).map(tuple),
)
_texts = st.lists(_text, max_size=3).map(tuple)
_reports = st.builds(
    FixReport,
    st.sampled_from(["fixed", "not_fixed", "nothing_to_fix", "error"]),
    message=_text,
    test_command=_text,
    failed_before=_texts,
    failed_after=_texts,
    patch=_text,
    files=_texts,
    steps=st.lists(_steps, max_size=2).map(tuple),
    receipt=st.none() | st.builds(Receipt, _text, st.just(1), _text, _text),
    flaky=_texts,
    own_test=_text,
    suspects=st.lists(st.builds(SuspectLine, _text, st.just(3), st.just(0.5), _texts), max_size=2).map(tuple),
    sources=_texts,
    attempts=st.lists(st.builds(AttemptLine, _text, _text, st.just(0.7), st.booleans(), _text), max_size=2).map(tuple),
    views=_text,
)


@settings(max_examples=30, deadline=None)
@given(_reports)
def test_text_of_others_is_inert(report):
    told = story(report)
    told.encode()
    parsed = MarkdownIt("commonmark").parse(told)
    inline = [child for token in parsed for child in token.children or ()]
    assert {token.type for token in inline} <= {"text", "code_inline", "strong_open", "strong_close", "softbreak"}
    assert not {"html_block", "code_block", "blockquote_open", "table_open"} & {token.type for token in parsed}
    assert all(len(token.content) < 60 for token in parsed if token.type == "heading_open")
    spoken = "".join(token.content for token in inline if token.type == "text")
    assert {*spoken} <= {*string.ascii_letters, *string.digits, *" .,:;()-"}


@given(st.text())
def test_a_span_holds_its_text_whole(text):
    (paragraph,) = [token for token in MarkdownIt("commonmark").parse(code(text)) if token.type == "inline"]
    (span,) = paragraph.children
    assert span.type == "code_inline"
    assert code(span.content) == code(text)


def a_report(**more) -> FixReport:
    thought = StepRecord(1, ThinkRequest.AUTO, "model", "hard", Mode.ON, False, tokens=Tokens(90, 40, 3, 20, 30))
    acted = CallOutcome("1.1", "edit_file", {}, "ok")
    quick = StepRecord(2, ThinkRequest.OFF, "reading", "", Mode.OFF, True, calls=(acted,))
    return FixReport(
        "fixed",
        "1 failing test now passes.",
        "pytest -q",
        ("tests/test_a.py::test_x",),
        patch="--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-a\n+b\n",
        files=("a.py",),
        candidates=2,
        steps=(thought, quick),
        tokens=Tokens(12_345, 40, 3, 20, 30),
        seconds=3.21,
        receipt=Receipt("pytest -q", 0, "7ee", "d16e57"),
        flaky=("tests/test_b.py::test_y",),
        suspects=(SuspectLine("a.py", 3, 0.931, ("failing tests run it", "the traceback names it")),),
        sources=("traceback", "coverage"),
        attempts=(AttemptLine("line", "off", 0.8, False, "test_z passed before.", ("a.py",), count=3),),
        views="overlay",
        **more,
    )


def test_the_story_is_told():
    told = story(a_report(own_test="+def test_x(): ...\n"))
    for part in (
        "# Fixed\n\n`1 failing test now passes.`",
        "`pytest -q`, in copies of the repository (`overlay`)",
        "1 test failed:\n\n- `tests/test_a.py::test_x`",
        "- `tests/test_b.py::test_y`",
        "was written first:\n\n```diff\n+def test_x(): ...\n```",
        "1. `a.py:3` (0.93): `failing tests run it`, `the traceback names it`",
        "1. `line`, thinking `off`, temperature 0.8, proposed 3 times: **not fixed** in `a.py` (0 tokens, 0.0 s).",
        "1. thought (`model`: `hard`), 53 tokens, 0.0 s\n2. did not think (`reading`), 0 tokens, 0.0 s: `edit_file`",
        "git apply fix.patch\ngit add --all && git write-tree  # 7ee\npytest -q",
        "- 3.2 s, 2 attempts, 2 steps\n- thinking in 1 of 2 steps\n- tokens: 12,345 read (40 cached)",
    ):
        assert part in told
    assert story(FixReport("nothing_to_fix", "")).startswith("# Nothing to fix\n\n## What it took")


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as the runner reads it."""
    found = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", line)
    assert found, line
    fields = dict(field.split("=", 1) for field in found[2].split(","))
    for code_, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        fields = {name: value.replace(code_, char) for name, value in fields.items()}
    return found[1], fields, found[3]


@settings(max_examples=30, deadline=None)
@given(_reports)
def test_marks_are_commands_of_ours_alone(report):
    lines = annotated(report, GITHUB).split("\n")
    assert lines.pop() == ""
    for line in lines:
        level, fields, text = parsed(line)
        assert level in {"notice", "warning", "error"}
        assert fields.keys() <= {"file", "line", "endLine", "title"}
        assert "\r" not in text
    paths = {parsed(line)[1].get("file") for line in lines}
    if report.status == "not_fixed":
        assert {line.path for line in report.suspects if line.path.isprintable()} - {""} <= paths
    assert annotated(report, {}).count("\n") == len(lines)


def test_marks_stand_where_the_patch_changes_something():
    old = "".join(f"{n}\n" for n in range(1, 31))
    new = (
        old.replace("3\n", "3\n-- a/x\n", 1)
        .replace("12\n13\n", "12, 13\n")
        .replace("29\n", "")
        .replace("1\n", "0\n1\n", 1)
    )
    both = Changes.of(
        [
            Change("a b/价,:%.py", FileState(old.encode()), FileState(new.encode())),
            Change("gone.py", FileState(b"-- a/y\n"), None),
            Change("new.py", None, FileState(b"++ b/z")),
            Change("b.bin", None, FileState(b"\0")),
        ]
    )
    found = [*places(both.patch())]
    assert found == [
        Place("a b/价,:%.py", 1, 3, "0\n1\n2\n3\n-- a/x"),
        Place("a b/价,:%.py", 12, 13, "12, 13"),
        Place("a b/价,:%.py", 29, 29, ""),
        Place("gone.py", 1, 1, ""),
        Place("new.py", 1, 1, "++ b/z"),
    ]
    told = annotated(FixReport("fixed", "ok", patch=both.patch()), GITHUB).splitlines()
    assert told[1].startswith(
        "::notice file=a b/价%2C%3A%25.py,line=1,endLine=3,title=kat fix%3A patch::Proposed instead%3A"[:70]
    )
    assert parsed(told[2])[1]["file"] == "a b/价,:%.py"
    plain = annotated(FixReport("not_fixed", "no", suspects=(SuspectLine("a.py", 3, 1, ("x", "y")),)), {})
    assert plain == "error: no\na.py:3: warning: x; y\n"


def test_places_of_a_damaged_patch_are_none_or_some():
    patch = "--- a/a\n+++ b/a\n@@ -1,9 +1,9 @@\n-a\n"
    assert [place.path for place in places(patch)] == ["a"]
    assert [*places("@@ -1 +1 @@\n-a\n+b\n")] == []


def outputs(file: Path) -> dict[str, str]:
    """The step's outputs as the runner reads them."""
    values, rows = {}, iter(file.read_text("utf-8").split("\n"))
    for row in rows:
        if not row:
            continue
        name, end = row.split("<<")
        lines = []
        while (line := next(rows)) != end:
            lines.append(line)
        values[name] = "\n".join(lines)
    return values


@pytest.mark.parametrize("message", HOSTILE)
def test_values_for_later_steps(tmp_path, message):
    files = {"GITHUB_OUTPUT": str(tmp_path / "out"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    hand_on(FixReport("fixed", message), files, patch_file="a b.patch", branch="fix/x")
    assert outputs(tmp_path / "out").keys() == {"status", "message", "patch", "branch"}
    assert outputs(tmp_path / "out")["status"] == "fixed"
    assert outputs(tmp_path / "out")["patch"] == "a b.patch"
    hand_on(FixReport("error", message), files)
    assert outputs(tmp_path / "out")["status"] == "error"
    assert (tmp_path / "summary").read_text().count("\n## What it took\n") == 2


def test_a_summary_is_never_too_long(tmp_path):
    step = a_report().steps[0]
    long = FixReport("fixed", "ok", patch="+" * 190_000, own_test="+" * 900_000, steps=(step,) * 300)
    hand_on(long, {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")})
    assert 100 < (tmp_path / "summary").stat().st_size < 2**20
    with pytest.raises(UserError, match="which the environment names"):
        hand_on(long, {"GITHUB_OUTPUT": str(tmp_path / "no/out")})


def test_nothing_printed_meanwhile_is_a_command():
    stream = io.StringIO()
    with muted(stream, GITHUB):
        stream.write("::error::no end")
    first, printed, last = stream.getvalue().splitlines()
    assert printed == "::error::no end"
    assert first == f"::stop-commands::{last.strip(':')}"
    assert len(last.strip(":")) == len(secrets.token_hex(32))
    with muted(stream := io.StringIO(), {}):
        pass
    assert stream.getvalue() == ""


def examples(language: str) -> list[str]:
    text = (ROOT / "docs/automation.md").read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("text", examples("yaml"), ids=["GitHub", "GitLab", "pre-commit"])
def test_examples_are_yaml(text):
    assert first_error("a.yaml", text) is None
    with suppress(ImportError):
        from yaml import safe_load

        assert isinstance(safe_load(text), dict)
    assert "permissions: {}" in text or "jobs:" not in text


def test_examples_use_what_there_is():
    known = {name for parameter in get_command(app).commands["fix"].params for name in parameter.opts}
    lines = [line for text in (*examples("yaml"), *examples("sh")) for line in text.splitlines()]
    ours = [line for line in lines if re.search(r"kat fix --|set -- ", line)]
    used = {name for line in ours for name in re.findall(r" (--[a-z-]+)", line.partition("kat fix")[2] or line)}
    assert {"--ci", "--branch", "--patch", "--report", "--issue-file"} <= used <= known


def test_the_hook_is_shell():
    (hook,) = examples("sh")
    assert subprocess.run(["sh", "-n"], input=hook, text=True, check=False).returncode == 0
