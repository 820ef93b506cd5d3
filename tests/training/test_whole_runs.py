"""Recipes that come with kat, run as a whole by the command: all stages, with a tiny model and a few updates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assistant.commands.registry import run
from assistant.errors import Exit
from tests.tiny import NEEDS_TORCH, make_model
from tests.training import cold_starts
from tests.training.test_evaluate import questions_on
from training.runtime.folder import RunFolder, rows

pytestmark = [NEEDS_TORCH, pytest.mark.xdist_group("heavy")]
SMALL = """
extends = "{name}.toml"
name = "small"
model.source = "model"
model.dialect = "kat"
model.dtype = "float32"
data.recipe = ""
data.samples = "samples"
data.tasks = "tasks"
data.sources = ""
data.row = 512
coldstart.batch = 1024
coldstart.steps = 2
rl.steps = 1
rl.prompts = 2
rl.group = 4
rl.tokens = 40
rl.think = 20
rl.judge = 8
rl.episodes = 0.0
eval.count = 1
eval.tokens = 24
export.prompts = 2
hardware.gpus = 0
hardware.nodes = 1
hardware.threads = 1
"""
GROWN = """
model.expand = { layers = 2, also = ["norms"] }
distill.teacher = "teacher"
distill.store = ""
distill.batch = 2048
distill.steps = 2
distill.on_policy = 0.5
"""


@pytest.mark.parametrize(
    ("name", "more", "left"),
    [
        ("kat-40b", GROWN, ["small-drafter", "small-merged"]),
        ("hipo-8b", "", ["small-merged"]),
        ("in-house", 'export.forms = ["adapter", "gguf"]', ["small-adapter", "small.gguf"]),
    ],
    ids=["kat-40b", "hipo-8b", "in-house"],
)
def test_all_stages_of_a_recipe(
    name: str, more: str, left: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cold_starts.prepared(questions_on(tmp_path))
    make_model(tmp_path / "teacher", seed=7)
    recipe, out = tmp_path / "mine.toml", tmp_path / "run"
    recipe.write_text(SMALL.format(name=name) + more)
    assert run(["train", "run", str(recipe), "--out", str(out)]) == Exit.DONE, capsys.readouterr().err
    stages = [stage for stage in ("distill", "coldstart", "rl", "eval", "export") if (out / stage).is_dir()]
    assert stages == [*["distill"] * (name == "kat-40b"), "coldstart", "rl", "eval", "export"]
    assert {row["stage"] for row in rows(RunFolder(out).metrics)} >= {*stages} - {"export"}
    assert sorted(path.name for path in (out / "export").iterdir() if path.name != "outcome.json") == left
    report = (out / "report.md").read_text()
    assert "| auto | before |" in report
    assert "kat serve" in report
    if name == "kat-40b":
        config = json.loads((out / "export/small-merged/config.json").read_text())
        assert config["num_hidden_layers"] == 4, "two blocks more than the model that it began with"
    assert run(["train", "resume", str(out)]) == Exit.DONE
    assert "export: finished before" in capsys.readouterr().err
