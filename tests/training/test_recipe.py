"""Recipes: layers, types, and mistakes that name what was meant."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import pytest

from assistant.errors import UserError
from model.format import ThinkRequest
from training.data.flow.running import kinds_of
from training.data.pipeline import DataRecipe, steps
from training.data.schema import KINDS
from training.data.stages import STAGES
from training.recipe import assignment, build, layers, shown

RECIPES = Path(__file__).resolve().parents[2] / "training/recipes"


@dataclass(frozen=True)
class Inner:
    path: Path = Path("x")
    shares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outer:
    name: str
    count: int = 1
    rate: float = 0.5
    yes: bool = False
    mode: Literal["a", "b"] = "a"
    think: ThinkRequest = ThinkRequest.AUTO
    inner: Inner = Inner()
    words: tuple[str, ...] = ()
    pair: tuple[int, str] | None = None


def test_layers_lie_on_one_another(tmp_path):
    (tmp_path / "below.toml").write_text('name = "below"\n[inner]\npath = "p"\nshares = { a = 1, b = 2 }\n')
    (tmp_path / "above.toml").write_text('extends = "below.toml"\nname = "above"\n[inner]\nshares = { b = 3 }\n')
    environ = {"KAT_TRAIN_SET": "count=2 'words=[\"a b\"]'"}
    found = build(Outer, layers(tmp_path / "above.toml", ["count=3", "mode=b", "think=on", 'pair=[1, "x"]'], environ))
    inner = Inner(Path("p"), {"a": 1.0, "b": 3.0})
    wanted = Outer("above", 3, mode="b", think=ThinkRequest.ON, inner=inner, words=("a b",), pair=(1, "x"))
    assert found == wanted
    (tmp_path / "again.toml").write_text(shown(found))
    assert build(Outer, layers(tmp_path / "again.toml", environ={})) == wanted


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("cuont=1", "has no 'cuont'; did you mean 'count'"),
        ("inner.pth=1", r"\[inner\] has no 'pth'; did you mean 'path'"),
        ("count=1.5", "count cannot be 1.5: it is a whole number"),
        ("count=true", "count cannot be True: it is a whole number"),
        ("rate=fast", "rate cannot be 'fast': it is a number"),
        ("yes=1", "yes cannot be 1: it is true or false"),
        ("mode=c", "mode cannot be 'c': it is one of a, b"),
        ("think=perhaps", "think cannot be 'perhaps': it is one of auto, on, off"),
        ("words=one", "words cannot be 'one': it is a list"),
        ("inner=3", "inner cannot be 3"),
        ("inner.shares.a=no", "inner.shares.a cannot be 'no'"),
        ("pair=[1]", "pair cannot be .*: it is a list of 2"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, word, sentence):
    (tmp_path / "r.toml").write_text('name = "x"\n')
    with pytest.raises(UserError, match=sentence):
        build(Outer, layers(tmp_path / "r.toml", [word], {}))


def test_what_is_missing_unreadable_or_a_circle_is_said(tmp_path):
    with pytest.raises(UserError, match="needs name"):
        build(Outer, {})
    with pytest.raises(UserError, match="write key=value"):
        assignment("count")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        layers(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text('extends = "r.toml"\n')
    with pytest.raises(UserError, match="extends itself"):
        layers(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text("name = \n")
    with pytest.raises(UserError, match="cannot be read: Invalid value"):
        layers(tmp_path / "r.toml")


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ({}, "names no stages"),
        ({"questons": {}}, "no stage 'questons'; did you mean 'questions'"),
        ({"questions": {"eech": 1}}, r"\[stages.questions\] has no 'eech'; did you mean 'each'"),
        ({"q": {"use": "questions", "from": ["profle"]}}, "stages.q names 'profle', and no stage above"),
        ({"questions": {}, "a": {"use": "answering", "from": "question"}}, "did you mean 'questions'"),
        (
            {"a": {"use": "line_repair", "sources": "@later"}, "later": {"use": "tag"}},
            "no stage above it has that name",
        ),
        ({"questions": {"limit": 0}}, "stages.questions.limit cannot be 0"),
        ({"../q": {"use": "questions"}}, "cannot be a name"),
        ({"leaks": {}}, "stages.leaks takes records of the kind task; sources gives source"),
        ({"licences": {}, "mix": {"from": "licences"}}, "kind sample; licences gives source"),
        ({"questions": {}, "splits": {"from": "questions"}, "mix": {"from": "splits"}}, "splits gives task"),
    ],
)
def test_a_pipeline_is_checked_before_anything_runs(stages, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        steps(DataRecipe("x", stages=stages), tmp_path)


def test_seeds_and_references_reach_the_stages(tmp_path):
    stages = {"q": {"use": "questions"}, "a": {"use": "answering", "from": "q", "seed": 9}}
    plan = steps(DataRecipe("x", 7, stages=stages), tmp_path)
    assert [step.stage.seed for step in plan] == [7, 9]
    vote = {"s": {"use": "mistakes"}, "v": {"use": "vote", "from": ["s"], "rollouts": "@s"}}
    assert steps(DataRecipe("x", stages=vote), tmp_path)[1].stage.rollouts == str(tmp_path / "s")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*-data.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_short_and_resolve(path, tmp_path):
    assert len(path.read_text().splitlines()) <= 40
    plan = steps(build(DataRecipe, layers(path, environ={})), tmp_path)
    assert plan[-1].name == "mix"


def test_the_page_shows_all_stages_and_all_fields():
    page = (RECIPES.parents[1] / "docs/training-data.md").read_text("utf-8")
    assert len(page.splitlines()) < 200
    for name, entry in STAGES.items():
        made_by, asks = entry.load(), "; asks a model" if entry.asks else ""
        reads, writes = (", ".join(kinds_of(kind)) for kind in (made_by.reads, made_by.writes))
        way = reads if reads == writes else f"{reads} → {writes}"
        assert f"| `{name}` | {entry.says}{asks} | {way} |" in page
    commands = (RECIPES.parents[1] / "docs/commands.md").read_text("utf-8").partition("\nStages: ")[2].split("`")[0]
    assert re.findall(r"[\w-]+", commands) == [name.replace("_", "-") for name in STAGES]
    for kind, record in KINDS.items():
        assert f"| {kind} | {', '.join(field.name for field in fields(record))} |" in page


def test_the_table_of_stages_tells_the_truth():
    for name, entry in STAGES.items():
        made_by = entry.load()
        assert made_by.name.replace("-", "_") == name
        assert made_by.version >= 1
        assert isinstance(made_by.whole, bool)
        assert {"reads", "writes"} <= set(dir(made_by))
        assert all(field.name not in ("use", "from", "limit", "chunk") for field in fields(made_by))
        assert entry.says[0].islower() or entry.says.startswith("KAT")
    assert set(KINDS) == {"source", "task", "rollout", "sample", "preference"}
