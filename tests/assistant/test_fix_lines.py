"""The line strategy: where lines are drawn, what is kept of a reply, and what an attempt does to a file."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from assistant.fix.lines import LONGEST, Place, failure_of, is_small, line_attempts, places
from assistant.fix.rewriting import rewriting
from assistant.fix.stages import Attempt, Localisation, Reproduction, SuspectFunction, SuspectLine
from assistant.testing.report import TestReport
from assistant.workspace.files import Workspace
from model.engine import Engine, EngineInfo
from model.engines.chat import ChatEngine
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.line import LineEdit

OUTPUT = """
_____ test_add _____

    def test_add():
>       assert add(1, 2) == 3
E       assert -1 == 3
E        +  where -1 = add(1, 2)

tests/test_shop.py:4: AssertionError
"""
CODE = "def add(a, b):\n    return a - b\n"
ADD = SuspectFunction("shop.py", "add", 1, 2, 1.0)


def lines(*places: tuple[str, int]) -> tuple[SuspectLine, ...]:
    return tuple(SuspectLine(path, line, 1.0) for path, line in places)


WHERE = Localisation(lines(("shop.py", 2)), (ADD,))
FOUND = Reproduction("pytest", TestReport("pytest", 1, (), ("test_add",), OUTPUT, False, 0.1, True), ("test_add",))


def reply(text: str) -> dict[str, object]:
    return {"reply": f"Plain.\n</judge>\n\n<think_off>\n<answer>\n{text}\n</answer>"}


async def drawn(
    root: Path,
    server: ScriptedServer,
    *,
    reach: Callable[[str], Engine] = HttpEngine,
    where: Localisation = WHERE,
    samples: int = 12,
    tokens: int | None = None,
) -> list[Attempt]:
    async with server:
        engine = reach(server.url)
        found = line_attempts(engine, Workspace(root), FOUND, where, samples=samples, tokens=tokens)
        attempts = [attempt async for attempt in found]
        await engine.aclose()
    return attempts


def texts(attempts: Sequence[Attempt]) -> list[bytes]:
    return [change.new.content for attempt in attempts for change in attempt.changes.changes if change.new]


async def test_attempts_are_what_compiles_and_differs_most_frequent_first(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(CODE)
    said = ["2: return a * b", "2:     return a  *  b  # times", "2: return a - b", "3: x", "sorry", "2: return a % b"]
    more = ["2:   return a + b", "2: return a + b", "2: return (a", "2: return a - b  # minus", "2: return  a*b"]
    server = ScriptedServer([reply(text) for text in (*said, *more, "2: return b")])
    attempts = await drawn(tmp_path, server)
    assert texts(attempts) == [
        b"def add(a, b):\n    return a * b\n",
        b"def add(a, b):\n    return a + b\n",
        b"def add(a, b):\n    return a % b\n",
        b"def add(a, b):\n    return b\n",
    ]
    assert {(attempt.strategy, attempt.changes.files) for attempt in attempts} == {("line", ("shop.py",))}
    assert "drawn" in attempts[0].said
    prompt = server.requests[0]["prompt"]
    assert "assert add(1, 2) == 3\nE       assert -1 == 3" in prompt
    assert prompt.endswith("<answer>\n1: def add(a, b):\n"), "the reply goes on at the suspect line"


async def test_all_tokens_are_counted_and_no_more_are_used_than_given(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(CODE)
    script = [reply("2: return a * b") | {"times": 0}]
    attempts = await drawn(tmp_path, ScriptedServer(script))
    written = sum(attempt.tokens.answer for attempt in attempts)
    assert written == 12 * 6, "of repeated ones and of those without an attempt too"
    assert not attempts[-1].changes
    few = await drawn(tmp_path, ScriptedServer(script), tokens=100)
    assert 0 < sum(attempt.tokens.answer for attempt in few) <= 100
    assert await drawn(tmp_path, ScriptedServer(script), tokens=20) == []


async def test_an_engine_that_only_chats_chooses_the_line_itself(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(CODE)
    server = ScriptedServer([reply("Line 2: return a + b") | {"times": 0}])
    attempts = await drawn(tmp_path, server, reach=ChatEngine, samples=3)
    assert texts(attempts) == [b"def add(a, b):\n    return a + b\n"]
    assert len(server.requests) == 3


async def test_samples_go_to_the_most_suspect_lines_most_to_the_first(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(CODE + CODE.replace("add", "plus"))
    where = Localisation(lines(("shop.py", 4), ("shop.py", 2)), (ADD, SuspectFunction("shop.py", "plus", 3, 4, 0.5)))
    server = ScriptedServer([reply("4: return a + b") | {"times": 0}])
    await drawn(tmp_path, server, where=where, samples=30)
    asked = [(request["prompt"].rpartition("<answer>\n")[2], request["n"]) for request in server.requests]
    begun = {text: sum(n for said, n in asked if said == text) for text, _ in asked}
    assert begun == {"3: def plus(a, b):\n": 20, "1: def add(a, b):\n": 10}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (codecs.BOM_UTF8 + b"a = 1\r\nb = 2\r\n", codecs.BOM_UTF8 + b"a = 1\r\nb = 3\r\n"),
        (b"a = 1\n\tb = 2 \r\nc", b"a = 1\n\tb = 3\r\nc"),
        (b"# \xe9\nb = 2", b"# \xe9\nb = 3"),
        ("\ufeffa\nb = 2\n".encode("utf-16-le"), "\ufeffa\nb = 3\n".encode("utf-16-le")),
    ],
)
def test_only_the_text_of_the_line_changes(tmp_path: Path, before: bytes, after: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(before)
    file = rewriting(Workspace(tmp_path), "a.txt")
    assert file is not None
    made = file.with_line(LineEdit(2, " b = 3"))
    assert made is not None
    (change,) = made.changes.changes
    assert (change.old and change.old.content, change.new and change.new.content) == (before, after)
    assert [file.with_line(LineEdit(n, text)) for n, text in ((9, "x"), (0, "x"), (2, "b=2"), (2, " "))] == [None] * 4


def test_a_line_that_breaks_another_language_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("function add(a, b) {\n  return a - b;\n}\n")
    file = rewriting(Workspace(tmp_path), "a.js")
    assert file is not None
    assert file.with_line(LineEdit(2, "return (a + ;")) is None
    assert file.with_line(LineEdit(2, "return a + b;")) is not None


def test_what_is_no_text_is_no_place_to_write_in(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0\1")
    (tmp_path / "b.py").symlink_to(tmp_path / "a.bin")
    assert [rewriting(Workspace(tmp_path), name) for name in ("a.bin", "b.py", "c.py")] == [None] * 3


def test_places_are_the_innermost_functions_around_the_most_suspect_lines() -> None:
    outer, inner = SuspectFunction("a.py", "f", 1, 40, 1.0), SuspectFunction("a.py", "f.g", 5, 9, 0.5)
    suspects = lines(("a.py", 6), ("tests/test_a.py", 3), ("b.py", 30), ("a.py", 7), ("a.py", 30))
    assert places(Localisation(suspects, (outer, inner))) == [
        Place("a.py", 5, 9, (6, 7)),
        Place("b.py", 20, 40, (30,)),
        Place("a.py", 1, 40, (6, 7, 30)),
    ]


def test_of_a_long_function_the_lines_around_its_most_suspect_one_are_shown() -> None:
    long = SuspectFunction("a.py", "f", 1, 900, 1.0)
    (place,) = places(Localisation(lines(("a.py", 500), ("a.py", 3), ("a.py", 510)), (long,)))
    assert (place.last - place.first + 1, place.suspects) == (LONGEST, (500, 510))
    (place,) = places(Localisation(lines(("a.py", 899)), (long,)))
    assert (place.first, place.last) == (900 - LONGEST + 1, 900)


def test_the_failure_is_the_first_assertion_else_the_end() -> None:
    assert failure_of(OUTPUT).splitlines() == [
        "assert add(1, 2) == 3",
        "E       assert -1 == 3",
        "E        +  where -1 = add(1, 2)",
    ]
    assert failure_of("tests/a.py:2: in test\n    assert f()\nE   assert 0\n\nmore") == "assert f()\nE   assert 0"
    assert failure_of("\n".join(map(str, range(99)))).endswith("97\n98")
    assert failure_of("") == ""


@pytest.mark.parametrize(
    ("model", "small"),
    [
        ("SmolLM2-135M-Instruct, Q4_1", True),
        ("nano", True),
        ("Qwen2.5-0.5B-Instruct", True),
        ("llama3.2:1b", True),
        ("SmolLM2-1.7B", True),
        ("Qwen2.5-7B-Instruct-1M", False),
        ("qwen3-30b-a3b", False),
        ("Mixtral-8x7B", False),
        ("Kwaipilot/KAT-Dev", False),
        ("model-4bit", False),
        ("phi-3b", False),
    ],
)
def test_small_models_are_known_by_their_names(model: str, small: bool) -> None:
    assert is_small(EngineInfo("somewhere", model, "kat")) is small
