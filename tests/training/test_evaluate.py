"""Before and after: the table from tries, tries from replies, and the stage on a tiny model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import NEEDS_TORCH
from tests.training.records import task
from training.evaluating.table import as_json, figures, markdown
from training.evaluating.tries import Asked, Try, mode_accuracy, right_modes

pytestmark = [NEEDS_TORCH, pytest.mark.xdist_group("heavy")]


def one(name: str, asked: Asked, chose: str, *, passed: bool, think: int = 0, wish: str = "") -> Try:
    return Try(name, "trace", asked, chose, passed, True, 5, think, 10, wish)


BEFORE = [
    *(one(f"t{n}", "auto", "on", passed=n < 2, think=100) for n in range(8)),
    *(one(f"t{n}", "on", "on", passed=n < 6, think=100) for n in range(8)),
    *(one(f"t{n}", "off", "off", passed=n < 4) for n in range(8)),
]
AFTER = [
    *(one(f"t{n}", "auto", "off" if n < 4 else "on", passed=n < 7, think=0 if n < 4 else 50) for n in range(8)),
    *BEFORE[8:],
]


def test_the_right_mode_is_the_cheaper_one_that_solves_it_or_what_the_user_wished():
    right = right_modes(AFTER)
    assert right == {**{f"t{n}": "off" for n in range(4)}, "t4": "on", "t5": "on"}
    assert mode_accuracy(AFTER) == (6, 6)
    assert mode_accuracy(BEFORE) == (2, 6)
    wished = [one("w", "auto", "off", passed=True, wish="on"), one("w", "off", "off", passed=True, wish="on")]
    assert mode_accuracy(wished) == (0, 1)
    assert mode_accuracy([one("a", "auto", "on", passed=True)]) == (0, 0), "no evidence, no verdict"
    assert not right_modes([one("a", "on", "on", passed=True)]), "whether it needs thought was not tried"


def test_the_table_has_intervals_and_what_changed():
    columns = {"before": BEFORE, "after": AFTER}
    text = markdown(columns, {"before": {"loss_ce": 2.5}, "after": {"loss_ce": 1.25}})
    assert "| auto | before | 2 of 8, 25% | 7% to 59% | 100% | 100% | 5 | 100 | 10 | 115 |" in text
    assert "| auto | after | 7 of 8, 88% | 53% to 98% | 100% | 50% | 5 | 25 | 10 | 40 |" in text
    assert "- auto: 5 tasks gained, 0 lost (p 0.062); 65% of the tokens saved (" in text
    assert "- after: the right mode chosen in 6 of 6, 100% (61% to 100%)" in text
    assert "- after: on held-out samples loss_ce 1.2500" in text
    found = json.loads(json.dumps(as_json(columns, {})))
    assert found["modes"]["auto"]["change"]["gained"] == 5
    assert found["choices"]["before"]["right"] == 2
    assert figures(AFTER, {"loss_ce": 1.25}) == {
        "loss_ce": 1.25,
        "solved_auto": 0.875,
        "tokens_auto": 40.0,
        "think_rate": 0.5,
        "solved_on": 0.75,
        "tokens_on": 115.0,
        "solved_off": 0.5,
        "tokens_off": 15.0,
        "mode_accuracy": 1.0,
    }
    assert markdown({"before": []}, {"before": {"loss_ce": 2.5}}) == "- before: on held-out samples loss_ce 2.5000\n"


def test_what_nothing_told_is_neither_solved_nor_failed():
    new = [replace(each, passed=None if each.task in ("t0", "t7") else each.passed) for each in AFTER]
    text = markdown({"before": BEFORE, "after": new}, {})
    assert "| auto | after | 6 of 6, 100% (2 unknown) |" in text
    assert "- auto: 5 tasks gained, 0 lost" in text, "t0 was solved before, and is not lost"
    assert figures(new, {})["solved_auto"] == 1.0
    assert as_json({"after": new}, {})["modes"]["auto"]["after"]["unknown"] == 2
    unsure = [one("a", "on", "on", passed=True), replace(one("a", "off", "off", passed=True), passed=None)]
    assert not right_modes(unsure), "whether it needs thought is unknown"


def questions_on(folder: Path) -> Path:
    """Eight questions whose answers are known, half of them for the test split; and some that cannot be checked."""
    from training.data.flow.shards import write
    from training.data.schema import UNVERIFIED, Tags

    plain = {"start": "", "solution": "", "split": "test"}
    asked = [
        replace(task(f"q{n}", f"What does f return for {n}?", answer=f"`{n}`", **plain), kind="question")
        for n in range(8)
    ]
    asked[::2] = [replace(each, split="train") for each in asked[::2]]
    asked.append(replace(task("open", "Look at this.", **plain), kind="review"))
    asked.append(replace(task("loose", "What is x?", answer="x", **plain, tags=Tags(UNVERIFIED)), kind="question"))
    write(asked, folder / "tasks", kind="task", format="jsonl")
    return folder


def test_a_model_is_asked_in_each_mode_and_checked(tmp_path: Path):
    from model.dialects import dialect
    from training.budgets import Voice
    from training.data.stage import Context
    from training.evaluating.asking import Exam, questions
    from training.sampling import Ask, Drawn, Limits
    from training.settings import DataTable, Eval, Recipe
    from training.tasking import Single

    tokens, speaks = Letters(), dialect("kat")
    recipe = Recipe(name="a", stages=("eval",), data=DataTable(tasks="tasks"), eval=Eval(count=3))
    asked = questions(recipe, questions_on(tmp_path))
    assert len(asked) == 3
    assert {each.task.id for each in asked} < {"q1", "q3", "q5", "q7"}, "held out, verified, and with an answer"

    class Scripted:
        """Thinks where it may choose, and is right only then."""

        def draw(self, asks: Sequence[Ask], limits: Limits, seed: int = 0) -> list[Drawn]:
            return [self._drawn(ask) for ask in asks]

        def _drawn(self, ask: Ask) -> Drawn:
            number = tokens.decode(ask.prompt).rpartition("for ")[2].partition("?")[0]
            answer = "wrong" if ask.forced else number
            free = "" if ask.forced else "Hard.\n</judge>\n\n<think_on>\n<think>\nHm.\n</think>\n\n<answer>\n"
            if tokens.decode(ask.forced).endswith("<think>\n"):
                free = "So.\n</think>\n\n<answer>\n"
            written = tokens.encode(f"{free}{answer}\n</answer><|im_end|>", specials=True)
            ids = (*ask.forced, *written)
            own = (False,) * len(ask.forced) + (True,) * len(written)
            return Drawn(ids, (0.0,) * len(ids), own, "stop")

    exam = Exam(asked, ("auto", "on", "off"), Limits(512))
    single = Single(speaks, tokens, Context(tmp_path))
    tries = exam.take(Scripted(), Voice(tokens, speaks), single)
    assert [(each.asked, each.chose, each.passed) for each in tries[:3]] == [
        ("auto", "on", True),
        ("on", "on", False),
        ("off", "off", False),
    ]
    free, _, direct = tries[:3]
    assert free.judge > 0 < free.think
    assert (direct.judge, direct.think) == (0, 0), "what was forced was not spent"
    assert all(each.formed for each in tries)


def test_the_stage_writes_its_table_and_its_tries(tmp_path: Path):
    import torch

    from tests.training import cold_starts
    from training.evaluate import run
    from training.models.loading import load
    from training.models.saving import save

    job = cold_starts.job(cold_starts.prepared(questions_on(tmp_path)), "run", dtype="float32")
    trained = load(job.recipe.model)
    with torch.no_grad():
        for name, weight in trained.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    weights = save(trained, tmp_path / "adapter")
    outcome = run(cold_starts.to_evaluate(job, weights, count=2, tokens=12))
    folder = job.folder.path / "eval"
    assert outcome.finished
    assert outcome.weights == weights
    assert {"solved_auto", "tokens_off", "loss_ce"} <= outcome.figures.keys()
    tries = [json.loads(line) for line in (folder / "after-0.jsonl").read_text().splitlines()]
    assert sorted((each["task"], each["asked"]) for each in tries) == sorted(
        (each["task"], each["asked"]) for each in map(json.loads, (folder / "before-0.jsonl").read_text().splitlines())
    )
    assert len(tries) == 6
    assert all(each["judge"] + each["think"] + each["answer"] <= 12 for each in tries)
    table = (folder / "table.md").read_text()
    assert table.count("| before |") == table.count("| after |") == 3
    losses = json.loads((folder / "results.json").read_text())["losses"]
    assert losses["before"]["loss_ce"] != losses["after"]["loss_ce"]


def test_stopped_it_keeps_the_tries_there_are_and_goes_on_behind_them(tmp_path: Path):
    from tests.training import cold_starts
    from training.evaluate import run
    from training.models.loading import load
    from training.models.saving import save
    from training.runtime.stopping import Stop

    job = cold_starts.job(cold_starts.prepared(questions_on(tmp_path)), "run", dtype="float32")
    weights = save(load(job.recipe.model), tmp_path / "adapter")
    stop = Stop()
    job = replace(cold_starts.to_evaluate(job, weights, count=2, tokens=12), stop=stop)
    outcome = run(replace(job, say=lambda line: stop.ask() if "after" in line else None))
    assert not outcome.finished
    assert "stopped at after" in outcome.why
    folder = job.folder.path / "eval"
    kept = folder / "before-0.unfinished"
    about, *tries = kept.read_text().splitlines()
    rows = [{**json.loads(line), "judge": 777} for line in tries]
    assert len(rows) == 6
    rows, cut = rows[:5], json.dumps(rows[5])[:20]
    kept.write_text(f"{about}\n" + "".join(json.dumps(row) + "\n" for row in rows) + cut)
    others = [{**row, "task": f"other {number // 3}"} for number, row in enumerate(rows)]
    (folder / "after-0.unfinished").write_text(f"{about}\n" + "".join(json.dumps(row) + "\n" for row in others))
    outcome = run(replace(job, stop=Stop()))
    assert outcome.finished
    tries = [json.loads(line) for line in (folder / "before-0.jsonl").read_text().splitlines()]
    again = {each["task"] for each in tries if each["judge"] != 777}
    assert again == {rows[4]["task"]}, "a task is tried again in all modes, the others are not"
    assert len(tries) == 6
    after = [json.loads(line) for line in (folder / "after-0.jsonl").read_text().splitlines()]
    assert len(after) == 6
    assert not any(each["judge"] == 777 for each in after), "those are of other weights"
    assert not [*folder.glob("*.unfinished")]


def test_nothing_held_out_is_a_note_and_no_reason_to_end_a_run(tmp_path: Path):
    from tests.training import cold_starts
    from training.evaluate import NOTHING, run

    job = cold_starts.job(cold_starts.prepared(tmp_path), "run", dtype="float32")
    bare = replace(job.recipe, stages=("eval",), data=replace(job.recipe.data, samples="", tasks=""))
    outcome = run(replace(job, stage="eval", recipe=bare))
    assert outcome.finished
    assert outcome.notes == (NOTHING,)
    assert not (job.folder.path / "eval/table.md").exists()


class Letters:
    """A token a letter, and one for the end of the turn."""

    ends = frozenset({1})

    def encode(self, text: str, *, specials: bool) -> list[int]:
        return [ord(letter) + 2 for letter in text.replace("<|im_end|>", "\x00")] if specials else self._plain(text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join("<|im_end|>" if each in (1, 2) else chr(each - 2) for each in ids)

    def _plain(self, text: str) -> list[int]:
        return [ord(letter) + 2 for letter in text]
