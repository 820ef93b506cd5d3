"""The recipes for training that come with the program, and what is refused before anything runs."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from assistant.commands.registry import run
from assistant.errors import Exit, UserError
from training.checking import RANKS, check
from training.commands.reading import read
from training.estimate import trains
from training.recipe import SHIPPED, build, shown
from training.settings import Lora, ModelTable, Recipe
from training.supply import data_recipe

RECIPES = ("nano", "hipo-8b", "kat-dev-32b-lora", "kat-40b", "in-house")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short_and_says_what_it_would_do(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len((SHIPPED / f"{name}.toml").read_text().splitlines()) <= 40
    code = run(["train", "run", name, "--dry-run"])
    printed = capsys.readouterr().out
    assert code == (Exit.NOT_ACHIEVED if "TOO MUCH" in printed else Exit.DONE)
    assert ("MISSING" in printed) is (name not in ("nano", "in-house"))
    recipe = read(Path(name)).recipe
    assert build(Recipe, tomllib.loads(printed)) == recipe, "what is printed is a recipe that resolves to the same"
    for stage, _ in trains(recipe):
        assert f"# {stage}: trains " in printed
    assert printed.count("#   memory ") == printed.count("#   an update ") == len(list(trains(recipe)))
    assert "TOO MUCH" not in printed or name == "nano", "that one depends on what this machine has free"
    assert not list(tmp_path.iterdir())


def test_the_cluster_recipes_take_what_their_names_say():
    hardware = {name: read(Path(name)).recipe.hardware for name in RECIPES}
    assert hardware["nano"].gpus == 0
    assert (hardware["in-house"].gpus, hardware["in-house"].processes) == (1, 1)
    assert (hardware["hipo-8b"].gpus, hardware["hipo-8b"].processes) == (8, 8)
    assert (hardware["kat-dev-32b-lora"].gpus, hardware["kat-dev-32b-lora"].processes) == (8, 6)
    assert hardware["kat-40b"].processes == 128


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nano", "--set", "rl.promts=3"], "[rl] has no 'promts'; did you mean 'prompts'?"),
        (["nano", "--set", "modle.source=x"], "did you mean 'model'?"),
        (["nano", "--set", "rl.advantage=grop"], "rl.advantage cannot be 'grop'"),
        (["nano", "--set", 'stages=["coldstrat"]'], "cannot be 'coldstrat'"),
        (["nanno"], "did you mean 'nano'?"),
        (["nano-data"], "is a recipe for data; run it with: kat train data run nano-data"),
        (["nano", "--set", "coldstart.batch=10"], "less than one row, 1024 tokens"),
        (["nano", "--set", "model.source=SmolLM3"], "model.source: no model 'SmolLM3'"),
        (["hipo-8b", "--set", "hardware.gpu=h101"], "hardware.gpu: no GPU type 'h101' is known; did you mean 'h100'"),
    ],
)
def test_mistakes_are_one_sentence_that_names_what_was_meant(words, sentence, capsys):
    assert run(["train", "run", *words, "--dry-run"]) == Exit.BAD_INPUT
    told = capsys.readouterr()
    assert sentence in told.err
    assert not told.out
    assert len(told.err.strip().splitlines()) == 1


def test_a_model_that_nothing_is_known_of_has_no_estimate_but_a_plan(capsys):
    run(["train", "run", "nano", "--dry-run", "--set", "model.source=some/model"])
    printed = capsys.readouterr().out
    assert "# no estimate: the shape of some/model is not known here" in printed
    assert "# stages      coldstart" in printed
    assert 'source = "some/model"' in printed


PROBLEMS = {
    "stages=[]": "names no stages",
    'stages=["export","export"]': "stands twice",
    "seed=-1": "seed cannot be -1",
    "model.lora.rank=24": "vLLM takes 1, 8, 16",
    "model.expand={layers=2}": "exclude each other",
    "rl.group=1": "rl.group must be 2",
    "rl.group=3": "too small for rl.paired",
    'rl={engine="http://a",temperature=0.7}': "must be 1 with a server",
    'data.tasks=""': "rl needs tasks",
    'data.samples=""': "names no samples",
    'export.forms=["drafter"]': "cannot be exported without [model.mtp]",
    "hardware={gpus=4,serving=4}": "leaves one to train",
    "hardware={gpus=4,serving=2}": "needs rl.engine",
    "hardware.nodes=0": "less than no GPUs",
    "data.row=1": "two tokens at least",
    "coldstart.keep=0": "coldstart.keep cannot be 0",
    "rl.steps=-1": "rl.steps cannot be -1",
    "coldstart.lr=0": "coldstart.lr cannot be 0.0",
    "rl.save=0": "rl.save cannot be 0",
    "rl.prompts=0": "rl.prompts cannot be 0",
    "rl.think=160": "leave nothing of rl.tokens = 192",
    "hardware={gpus=3}": "a multiple of 3",
}


@pytest.mark.parametrize("word", PROBLEMS)
def test_what_cannot_be_as_a_whole_is_refused(word):
    with pytest.raises(UserError, match=PROBLEMS[word].replace("[", r"\[")):
        read(Path("nano"), (word,))


def test_episodes_of_several_processes_need_a_server():
    with pytest.raises(UserError, match=r"set rl\.engine to a server"):
        read(Path("nano"), ("rl.episodes=0.5", "hardware={gpus=2}", 'hardware.gpu="h100"'))


def test_episodes_need_sources():
    with pytest.raises(UserError, match=r"set data\.sources"):
        read(Path("nano"), ("rl.episodes=0.5", 'data.sources=""'))


def test_a_server_takes_adapters_only():
    word = 'rl.engine="http://127.0.0.1:8000"'
    assert read(Path("nano"), (word,)).recipe.rl.engine.startswith("http")
    with pytest.raises(UserError, match="a server takes adapters only"):
        read(Path("hipo-8b"), (word,))


def test_the_ranks_are_those_of_vllm_that_the_adapter_check_knows():
    for rank in RANKS:
        check(Recipe(name="x", stages=("export",), model=ModelTable(lora=Lora(rank=rank))))


def test_layers_lie_over_each_other(tmp_path):
    (tmp_path / "mine.toml").write_text(f'extends = "{SHIPPED}/nano.toml"\nname = "mine"\n[rl]\nsteps = 7\n')
    environ = {"KAT_TRAIN_SET": "rl.group=4"}
    found = read(tmp_path / "mine.toml", ("rl.prompts=2",), environ)
    assert (found.recipe.name, found.base) == ("mine", tmp_path)
    assert (found.recipe.rl.steps, found.recipe.rl.group, found.recipe.rl.prompts) == (7, 4, 2)
    assert found.recipe.rl.tokens == 192
    assert build(Recipe, tomllib.loads(shown(found.recipe))) == found.recipe


def test_a_copy_here_stands_before_the_one_that_comes_with_kat(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano.toml").write_text('extends = "in-house.toml"\nname = "ours"\n[rl]\nsteps = 7\n')
    found = read(Path("nano"))
    assert (found.recipe.name, found.base, found.recipe.rl.steps) == ("ours", tmp_path, 7)
    assert found.recipe.model.source == "HiPO-8B", "from below, though no in-house.toml was copied"
    assert data_recipe(found.recipe.data, found.base) == SHIPPED / "in-house-data.toml"
    (tmp_path / "in-house-data.toml").write_text("")
    assert data_recipe(found.recipe.data, found.base) == tmp_path / "in-house-data.toml"


def test_a_recipe_for_training_is_no_recipe_for_data(capsys):
    assert run(["train", "data", "run", "nano", "--dry-run"]) == Exit.BAD_INPUT
    assert "is a recipe for training; run it with: kat train run nano" in capsys.readouterr().err
