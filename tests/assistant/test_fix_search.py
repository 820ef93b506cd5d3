"""Attempts: how each is planned, what it is told, and which one is left in the end."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.config import Settings
from assistant.fix.agent import Order
from assistant.fix.bench import Bench
from assistant.fix.candidates import attempts_for, fix_prompt, issue_prompt, plans, waves
from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.report import AttemptLine, FixReport
from assistant.fix.request import FixRequest
from assistant.fix.search import Search
from assistant.fix.stages import Attempt, Localisation, Reproduction
from assistant.fix.trees import fingerprint
from assistant.fix.views import Views
from assistant.safety.sandbox import Sandbox
from assistant.testing.report import TestReport as Report
from assistant.workspace.files import Workspace
from model.engine import EngineError, EngineInfo
from model.format import ThinkRequest


@given(st.integers(1, 12), st.sampled_from(ThinkRequest), st.booleans())
def test_every_planned_attempt_is_in_one_wave_and_each_is_as_warm_or_warmer(
    count: int, think: ThinkRequest, batches: bool
) -> None:
    planned = plans(count, think)
    assert [plan for wave in waves(planned, batches=batches) for plan in wave] == planned
    warmth = [plan.temperature or 0.0 for plan in planned]
    assert len(planned) == count
    assert warmth == sorted(warmth)
    assert warmth[-1] <= 1


def test_where_the_model_may_decide_the_later_attempts_think() -> None:
    assert [plan.think.value for plan in plans(3, ThinkRequest.AUTO)] == ["off", "off", "on"]
    assert [plan.think.value for plan in plans(1, ThinkRequest.AUTO)] == ["auto"]
    assert [len(wave) for wave in waves(plans(4, ThinkRequest.AUTO), batches=True)] == [2, 2]
    names = ("embedded", False), ("http://x", False), ("http://x", True)
    assert [attempts_for(EngineInfo(name, "m", "kat"), batches=batches) for name, batches in names] == [1, 2, 4]


def test_an_attempt_is_told_what_fails_and_what_did_not_work() -> None:
    found = Reproduction("pytest", report("-t.py::a"), ("t.py::a",))
    tried = [AttemptLine("agent", "off", None, False, f"t.py::a still\nfails {n}.", ("calc.py",)) for n in range(9)]
    prompt = fix_prompt(found, "It is wrong.", "calc.py:1 f", tried)
    order = ["The issue:\nIt is wrong.", "These tests fail:\nt.py::a", "calc.py:1 f", "fails 1.", "fails 8."]
    assert [prompt.index(part) for part in order] == sorted(prompt.index(part) for part in order)
    assert "- It changed calc.py: t.py::a still fails 8." in prompt
    assert "fails 0." not in prompt
    assert issue_prompt("x", "Write one.").endswith("\n\nWrite one.")
    assert issue_prompt("x").endswith("finish.")


def report(words: str) -> Report:
    failed = tuple(word[1:] for word in words.split() if word[0] == "-")
    passed = tuple(word for word in words.split() if word[0] != "-")
    return Report("", int(bool(failed)), passed, failed, "", False, 1.0, True)


@dataclass(frozen=True, slots=True)
class _Bench(Bench):
    """Tests that pass where the file says `good`, and never end where it says `slow`."""

    async def tests(self, changes: Changes = Changes(), **_: object) -> Report:  # type: ignore[override]  # noqa: B008
        text = b"".join(change.new.content for change in changes.changes if change.new)
        await asyncio.sleep(1_000 if b"slow" in text else 0)
        return report("a b" if b"good" in text else "a -b")


@dataclass(slots=True)
class _Engine:
    """One that only says what it is."""

    batches: bool

    async def info(self) -> EngineInfo:
        return EngineInfo("http://x", "m-70b", "kat", batches=self.batches)


@dataclass(slots=True)
class _Agents:
    """Attempts by what they write into the file; None breaks off, "hangs" never ends."""

    texts: list[str | None]
    ended: list[str] = field(default_factory=list)

    async def __call__(self, bench: Bench, engine: object, order: Order, watch: object) -> Attempt:
        text = self.texts.pop(0)
        if text is None:
            raise EngineError("it is gone")
        try:
            await asyncio.sleep(1_000 if text == "hangs" else 0)
        finally:
            self.ended.append(text)
        change = Change("calc.py", FileState(b"one\n"), FileState(f"{text}\n".encode()))
        return Attempt("agent", Changes((change,)))


def search(folder: Path, agents: _Agents, notes: list[FixReport], *, batches: bool) -> Search:
    root = folder / "repo"
    root.mkdir()
    (root / "calc.py").write_text("one\n")
    request = FixRequest(root, replace(Settings(), think=ThinkRequest.OFF), candidates=len(agents.texts))
    bench = _Bench(request, Workspace(root), Sandbox(root, "none", {}), Views(root, folder, "copy"), "./run")
    found = Reproduction("./run", report("a -b"), ("b",))
    deadline = asyncio.get_running_loop().time() + 1_000
    return Search(
        bench,
        _Engine(batches),  # type: ignore[arg-type]
        found,
        Localisation(),
        lambda _: None,
        notes.append,
        deadline=deadline,
        stamp=fingerprint(root),
        attempt=agents,
    )


@pytest.mark.parametrize(
    ("texts", "batches"), [([None, "good"], True), (["good", None], True), (["good", None], False)]
)
async def test_an_engine_that_breaks_off_takes_no_good_attempt_with_it(
    tmp_path: Path, texts: list[str | None], batches: bool
) -> None:
    assert (await search(tmp_path, _Agents(texts), [], batches=batches).run()).status == "fixed"


@pytest.mark.parametrize(("texts", "kept"), [(["bad", None, "good"], "bad"), ([None, None], "")])
async def test_an_engine_that_is_gone_is_an_error_and_the_best_attempt_is_known(
    tmp_path: Path, texts: list[str | None], kept: str
) -> None:
    notes: list[FixReport] = []
    with pytest.raises(EngineError, match="it is gone"):
        await search(tmp_path, _Agents(texts), notes, batches=not kept).run()
    assert kept in notes[-1].patch
    assert notes[-1].status == "not_fixed"


async def test_equal_attempts_are_proven_once_and_counted(tmp_path: Path) -> None:
    found = await search(tmp_path, _Agents(["bad", "bad", "worse"]), [], batches=False).run()
    assert [attempt.count for attempt in found.attempts] == [1, 2, 1]
    assert [attempt.why.startswith("The same as before") for attempt in found.attempts] == [False, True, False]
    assert found.message.startswith("b still fails. (3 attempts)")


async def test_who_interrupts_the_proof_waits_for_the_other_attempts_to_end(tmp_path: Path) -> None:
    agents = _Agents(["slow", "hangs"])
    notes: list[FixReport] = []
    running = asyncio.ensure_future(search(tmp_path, agents, notes, batches=True).run())
    while not agents.ended:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert agents.ended == ["slow", "hangs"]
    assert notes[0].message == "No attempt was finished."
