"""Rows of stages: on any file system, with records of several kinds, and begun anew by what they depend on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from assistant.commands.registry import run as command
from assistant.errors import Exit, UserError
from model.engine import EngineError
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from tests.training.odd_stages import TASKS
from training import recipe as recipes
from training.commands.opening import opener
from training.data.flow import shards
from training.data.flow.chunks import fingerprint
from training.data.flow.gathering import Wanted
from training.data.flow.places import manifests
from training.data.flow.progress import Progress
from training.data.flow.running import Here, run
from training.data.pipeline import DataRecipe, Way, run_all, steps
from training.data.schema import Record, Refused, Sample, Task
from training.data.stage import Context, place
from training.data.synthesize import Synthesize


@dataclass(frozen=True)
class Reader:
    """A stage with a word, a place and something outside."""

    word: str = ""
    where: str | tuple[str, ...] = place()
    seen: str = ""

    name: ClassVar[str] = "reader"
    version: ClassVar[int] = 1
    reads: ClassVar[Any] = Task
    writes: ClassVar[Any] = Task
    whole: ClassVar[bool] = False

    def __call__(self, records: Iterable[Task], context: Context) -> Iterator[Record | Refused]:
        yield from records

    def outside(self) -> str:
        return Path(self.seen).read_text() if self.seen else ""


@pytest.mark.parametrize("root", ["memory://print", "file://", ""])
def test_places_count_by_what_is_there_and_words_by_themselves(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    where = f"{root}{tmp_path}/tasks"
    before = fingerprint(Reader("keep", where))
    assert fingerprint(Reader("keep", (where,))) != before
    shards.write(TASKS[:3], where, kind="task")
    first = fingerprint(Reader("keep", where))
    shards.write(TASKS[:3], f"{where}-too", kind="task", stage="another")
    assert fingerprint(Reader("keep", f"{where}-too")) == first != before
    file = fingerprint(Reader("keep", f"{where}/part-00000.parquet"))
    shards.write(TASKS[:4], where, kind="task")
    assert fingerprint(Reader("keep", where)) != first
    assert fingerprint(Reader("keep", f"{where}/part-00000.parquet")) != file
    Path("keep").write_text("a file of the same name")
    assert fingerprint(Reader("keep", f"{where}-too")) == first


def test_what_a_stage_looks_at_besides_counts(tmp_path):
    (tmp_path / "seen").write_text("one")
    stage = Reader(seen=str(tmp_path / "seen"))
    one = fingerprint(stage)
    (tmp_path / "seen").write_text("two")
    assert fingerprint(stage) != one


def test_paths_begin_at_the_recipe(tmp_path):
    lists = ["ours.json", "/abs.json", "s3://bucket/theirs.json"]
    table = {"q": {"use": "questions"}, "contamination": {"from": "q", "lists": lists}}
    (_, step) = steps(DataRecipe("x", stages=table), "s3://out", tmp_path)
    assert step.stage.lists == (str(tmp_path / "ours.json"), *lists[1:])
    table = {"p": {"use": "profile"}, "verify": {"from": ["q"], "sources": "@p"}, "q": {"use": "questions"}}
    table = {name: table[name] for name in ("p", "q", "verify")}
    assert steps(DataRecipe("x", stages=table), "s3://out/", tmp_path)[-1].stage.sources == "s3://out/p"


def _recipe(inputs):
    stages = {
        "questions": {"each": 30},
        "answering": {"from": ["questions"]},
        "clean": {"use": "scrub", "from": inputs},
        "mix": {"from": ["clean"], "size": 6},
    }
    return DataRecipe("small", 5, Wanted(folders=("code",)), stages)


def test_records_of_two_kinds_go_through_a_far_place(tmp_path):
    (tmp_path / "code").mkdir()
    shutil.copy(recipes.__file__, tmp_path / "code")
    out, way = f"memory://{tmp_path}/out", Way(Context(tmp_path / "cache", jobs=0), Here())
    both = _recipe(["questions", "answering"])
    first = run_all(both, out, way, tmp_path)
    assert [report.read for report in first[1:3]] == [30, 30 + first[1].written]
    tasks, samples = list(shards.read(Task, f"{out}/clean")), list(shards.read(Sample, f"{out}/clean"))
    assert len(tasks) + len(samples) == first[2].written == first[2].read - sum(first[2].refused.values())
    assert (first[3].read, first[3].written) == (len(samples), 6)
    assert run_all(both, out, way, tmp_path) == first, "what is done is not done again"
    assert not (tmp_path / "memory:").exists()
    run_all(replace(both, stages={**both.stages, "mix": {"from": ["clean"], "size": 5}}), out, way, tmp_path)
    assert len(list(shards.read(Sample, f"{out}/mix"))) == 5
    less = run_all(_recipe(["questions"]) if False else _without_mix(["questions"]), out, way, tmp_path)
    assert [*manifests(f"{out}/clean")] == ["task"], "what an earlier run wrote of another kind does not count"
    assert less[2].written == len(tasks)


def _without_mix(inputs):
    recipe = _recipe(inputs)
    return replace(recipe, stages={name: table for name, table in recipe.stages.items() if name != "mix"})


def test_commands_write_to_far_places_and_read_of_two_kinds_what_they_take(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("code").mkdir()
    shutil.copy(recipes.__file__, "code")
    text = 'name = "far"\n[sources]\nfolders = ["code"]\n[stages]\nquestions = { each = 9 }\n'
    text += 'answering = { from = ["questions"] }\nclean = { use = "licences", unknown = "keep", '
    Path("far.toml").write_text(text + 'from = ["questions", "answering"] }\n')
    out = f"memory://{tmp_path}/out"
    assert command(["train", "data", "run", "far.toml", "--out", out, "--jobs", "0"]) == Exit.DONE
    assert "# Data card" in capsys.readouterr().out
    assert shards.text_in(out, "card.md")
    one = ["train", "data", "mix", "--from", f"{out}/clean", "--out", f"{out}/mixed", "--jobs", "0", "--set", "size=3"]
    assert command(one) == Exit.DONE
    assert len(list(shards.read(Sample, f"{out}/mixed"))) == 3
    assert command(["train", "data", "export", f"{out}/mixed", "--out", f"{out}/text"]) == Exit.DONE
    assert len(str(shards.text_in(f"{out}/text", "samples.jsonl")).splitlines()) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "code", "far.toml"]


_ANSWER = "Plain.\n</judge>\n\n<think_off>\n<answer>\nadds one\n</answer>"


def test_what_an_engine_refused_is_asked_again(tmp_path):
    task = replace(TASKS[0], answer="adds one", context="def f(x):\n    return x + 1\n")
    stage = Synthesize(regimes=("off",), tries=1, retries=0, timeout=5.0)

    def made(**reply):
        with ScriptedServer([{"match": "", "reply": _ANSWER, "times": 0, **reply}]) as server:

            async def engine():
                return HttpEngine(server.url, retries=0, backoff=0.01)

            context = Context(tmp_path / "cache", 1, engine)
            with Path(os.devnull).open("w") as silent:
                return run(stage, [task], tmp_path / "out", context, progress=Progress("s", out=silent))

    refused = made(status=400, body={"error": {"message": "too much to do"}})
    assert refused.refused == {"engine": 1}
    found = made()
    assert (found.refused, found.written, found.reused) == ({}, 1, 0)
    assert made().reused == 1


def test_the_model_is_named_by_itself_and_asked_for_before_anything_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KAT_CACHE", str(tmp_path / "cache"))
    with ScriptedServer([], model="teacher-a") as one, ScriptedServer([], model="teacher-b") as other:
        names = [opener(server.url, None).asked() for server in (one, other)]
    assert ["teacher-a" in names[0], "teacher-b" in names[1]] == [True, True]
    with pytest.raises(EngineError):
        opener(one.url, None).asked()
    shards.write(TASKS[:2], tmp_path / "tasks", kind="task")
    words = ["train", "data", "rollouts", "--from", str(tmp_path / "tasks"), "--out", str(tmp_path / "out")]
    assert command([*words, "--teacher", one.url]) not in (Exit.DONE, Exit.NOT_ACHIEVED)
    assert one.url in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_place_with_other_records_is_named_at_once(tmp_path):
    shards.write(TASKS[:2], tmp_path / "tasks", kind="task")
    with pytest.raises(UserError, match="holds records of the kind task; sample is needed here"):
        list(shards.read(Sample, tmp_path / "tasks"))
