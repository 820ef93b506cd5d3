"""`kat train`: runs of stages that are passed in, stopped, resumed and watched; what a machine brings."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.commands.registry import run
from assistant.doctor.finding import Finding
from assistant.errors import Exit, UserError
from model.serving.hardware.devices import find_machine
from model.serving.plan import Gpu
from tests.training.records import sample, task
from training import pipeline
from training import recipe as recipes
from training.commands.reading import Read, read
from training.commands.running import _other_way, about
from training.commands.watching import Follower
from training.data.flow import shards
from training.data.schema import Sample, Task
from training.doctor import Place, allocator, findings, packages, wanted_gpus, writable
from training.recipe import shown
from training.runtime.folder import RunFolder
from training.runtime.job import Outcome
from training.runtime.stopping import Stop
from training.runtime.world import World
from training.settings import TRAINS, DataTable, Hardware, Recipe
from training.supply import advise, expect_gpus, expect_module, expect_tasks, supply

ORDER = ("coldstart", "rl", "export")
SETTINGS = Recipe(name="small", stages=ORDER, data=DataTable(samples="samples", tasks="samples"))


class Stages:
    """Stages that write down what they were given."""

    def __init__(self, **ends):
        self.jobs, self.ends = [], ends

    def find(self, stage):
        def run(job):
            self.jobs.append(job)
            found = self.ends.get(stage)
            if callable(found):
                return found(job)
            weights = Path(f"/w/{stage}") if stage in TRAINS else job.weights
            return found or Outcome(weights, figures={"loss": 0.5}, notes=(f"{stage} is good",))

        return run

    @property
    def ran(self):
        return [job.stage for job in self.jobs]


def way(tmp_path, stages, **more):
    folder = RunFolder(tmp_path / "run")
    lines = []
    made = pipeline.Way(folder, tmp_path, World(), more.pop("stop", Stop()), lines.append, find=stages.find, **more)
    return made, lines


def test_stages_go_on_from_what_the_one_before_left_and_are_run_once(tmp_path):
    stages = Stages(export=Outcome(None, notes=("adapter: here", "  serve: kat serve it")))
    made, lines = way(tmp_path, stages, weights=Path("/begin"))
    last = pipeline.run(SETTINGS, made, {"seed": 0})
    assert stages.ran == list(ORDER)
    assert [job.weights for job in stages.jobs] == [Path("/begin"), Path("/w/coldstart"), Path("/w/rl")]
    assert last.weights == Path("/w/rl"), "what trains no weights leaves those before"
    report = made.folder.report.read_text()
    assert report.index("## coldstart") < report.index("| loss | 0.5 |") < report.index("coldstart is good")
    assert report.index("coldstart is good") < report.index("## export")
    assert "\n    serve: kat serve it\n" in report, "as code"
    assert "not finished" not in report
    again = Stages()
    made, lines = way(tmp_path, again, weights=Path("/begin"))
    assert pipeline.run(SETTINGS, made, {"seed": 0}).finished
    assert again.ran == []
    assert lines == [f"{stage}: finished before" for stage in ORDER]
    assert pipeline.trained(SETTINGS, made.folder) == Path("/w/rl")


def test_a_stage_that_stops_itself_ends_the_run_and_is_gone_on_with(tmp_path):
    why = "the loss is nan; the last good checkpoint is step-4"
    stages = Stages(rl=Outcome(None, False, why))
    made, lines = way(tmp_path, stages)
    last = pipeline.run(SETTINGS, made, {})
    assert (last.finished, stages.ran) == (False, ["coldstart", "rl"])
    assert last.weights == Path("/w/coldstart")
    assert f"The run is not finished: {why}." in made.folder.report.read_text()
    assert f"rl: {why}" in lines
    assert Follower(made.folder.path).read().state == f"{why}."
    again = Stages()
    made, _ = way(tmp_path, again)
    pipeline.run(SETTINGS, made, {})
    assert again.ran == ["rl", "export"]
    assert again.jobs[0].weights == Path("/w/coldstart")


def test_a_signal_behind_the_last_update_ends_the_run_between_stages(tmp_path):
    stop = Stop()

    def asked(job):
        job.stop.ask()
        return Outcome(Path("/w"))

    stages = Stages(coldstart=asked)
    made, _ = way(tmp_path, stages, stop=stop)
    last = pipeline.run(SETTINGS, made, {})
    assert (last.finished, last.why, stages.ran) == (False, "stopped behind coldstart, as asked", ["coldstart"])


def test_a_stage_that_is_done_again_keeps_what_the_report_says_of_the_others(tmp_path):
    made, _ = way(tmp_path, Stages())
    pipeline.run(SETTINGS, made, {})
    stages = Stages(eval=Outcome(None, notes=("a table",)))
    once = pipeline.once_more(SETTINGS, made.folder, "export")
    assert once.stages == ORDER
    made, _ = way(tmp_path, stages, weights=Path("/w/rl"))
    pipeline.run(once, made, None)
    assert stages.ran == ["export"]
    assert stages.jobs[0].weights == Path("/w/rl")
    report = made.folder.report.read_text()
    assert all(f"{stage} is good" in report for stage in ORDER)
    pipeline.run(pipeline.once_more(SETTINGS, made.folder, "eval"), made, None)
    assert stages.ran == ["export", "eval"]
    assert "rl is good" in made.folder.report.read_text()
    assert "a table" in made.folder.report.read_text()


def test_what_was_done_with_other_weights_is_done_again(tmp_path):
    made, _ = way(tmp_path, Stages(rl=Outcome(None, False, "it was stopped")))
    pipeline.run(SETTINGS, made, {})
    early, _ = way(tmp_path, Stages(), weights=Path("/w/coldstart"))
    pipeline.run(pipeline.once_more(SETTINGS, made.folder, "export"), early, None)
    assert pipeline.finished(made.folder, "export").weights == Path("/w/coldstart")
    stages = Stages()
    again, _ = way(tmp_path, stages)
    assert pipeline.run(SETTINGS, again, {}).finished
    assert stages.ran == ["rl", "export"], "the export of the cold start is not that of the run"
    assert pipeline.trained(SETTINGS, made.folder) == Path("/w/rl")


def test_a_run_can_be_moved(tmp_path):
    inside = tmp_path / "run/rl/weights"
    made, _ = way(tmp_path, Stages(rl=Outcome(inside)))
    pipeline.run(SETTINGS, made, {})
    assert pipeline.trained(SETTINGS, made.folder) == inside
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    moved = RunFolder(tmp_path / "elsewhere")
    assert pipeline.trained(SETTINGS, moved) == tmp_path / "elsewhere/rl/weights"
    assert pipeline.finished(moved, "coldstart").weights == Path("/w/coldstart"), "what lies outside stays where it is"


def test_a_run_without_checkpoints_is_of_its_weights_too(tmp_path):
    recipe = replace(SETTINGS, stages=("export",))
    made, _ = way(tmp_path, Stages(), weights=Path("/one"))
    pipeline.run(recipe, made, {"weights": "/one"})
    made, _ = way(tmp_path, Stages(), weights=Path("/two"))
    with pytest.raises(UserError, match="began with other weights"):
        pipeline.run(recipe, made, {"weights": "/two"})


def test_a_prepared_run_takes_another_recipe_until_it_begins(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin("name = 'one'\n", {})
    folder.begin("name = 'two'\n", {})
    assert folder.recipe.read_text() == "name = 'two'\n"
    folder.checkpoint("rl", 1).mkdir(parents=True)
    with pytest.raises(UserError, match="holds a run of another recipe"):
        folder.begin("name = 'three'\n", {})


def test_what_only_exports_is_exported_again(tmp_path):
    recipe = replace(SETTINGS, stages=("export",))
    made, _ = way(tmp_path, Stages(), weights=Path("/one"))
    pipeline.run(recipe, made, {"weights": "/one"})
    assert pipeline.trained(recipe, made.folder) is None
    assert pipeline.once_more(recipe, made.folder, "export").stages == ("export",)


def test_what_is_not_of_the_run_any_more_is_left_out_of_the_report(tmp_path):
    recipe = replace(SETTINGS, stages=("coldstart", "rl", "eval", "export"))
    made, _ = way(tmp_path, Stages(rl=Outcome(None, False, "it was stopped")))
    pipeline.run(recipe, made, {})
    early, _ = way(tmp_path, Stages(), weights=Path("/w/coldstart"))
    pipeline.run(pipeline.once_more(recipe, made.folder, "eval"), early, None)
    assert "eval is good" in made.folder.report.read_text()
    stopped, _ = way(tmp_path, Stages(eval=Outcome(None, False, "stopped at before")))
    pipeline.run(recipe, stopped, {})
    assert "eval is good" not in made.folder.report.read_text(), "that was of the cold start"
    assert pipeline.once_more(recipe, made.folder, "export").stages == ("coldstart", "rl", "export")


def test_a_recipe_for_data_that_writes_elsewhere_is_told_of_before_the_hours(code):
    table = DataTable(recipe="few.toml", samples="mine/mix", tasks="few/questions")
    with pytest.raises(UserError, match=r"data.samples is mine/mix, and few.toml writes into few; set it to few/mix"):
        supply(table, code, print)


def test_gpus_that_others_hold_are_told_of(tmp_path):
    held, lines = replace(Gpu("NVIDIA H100", 79.6), free=10.0), []
    found = wanted_gpus(Hardware(gpus=1, gpu="h100"), [held])
    assert found.ok is None
    assert "others hold 70 GiB" in found.detail
    advise(SETTINGS, False, lines.append, frozenset(), [held, replace(held, free=79.0), replace(held, free=None)])
    assert lines == ["others hold 70 GiB of NVIDIA H100; `kat serve stop` ends a teacher"]


def test_a_drafter_needs_a_module_near_the_weights(tmp_path):
    recipe = replace(SETTINGS, stages=("rl", "export"), export=replace(SETTINGS.export, forms=("drafter",)))
    run = tmp_path / "first"
    weights = run / "coldstart/weights"
    weights.mkdir(parents=True)
    for begun in (None, weights):
        with pytest.raises(UserError, match="there is no module that drafts"):
            expect_module(recipe, begun)
    RunFolder(run).begin("name = 'first'\n", {})
    (run / "distill/weights/mtp").mkdir(parents=True)
    (run / "distill/weights/mtp/mtp.json").write_text("{}")
    expect_module(recipe, weights)
    expect_module(replace(recipe, stages=("distill", "export")), None)


def test_another_way_begins_with_the_weights_that_this_one_began_with(tmp_path):
    words = shlex.split(_other_way(SETTINGS, RunFolder(tmp_path / "run"), Path("/begun")).partition(", ")[2])
    assert words[words.index("--weights") + 1] == "/begun"


def test_a_launcher_ends_with_the_command_that_started_it():
    code = (
        "from training.commands.running import _launched\n"
        "raise SystemExit(_launched(['sh', '-c', 'trap \"exit 0\" TERM; echo up; while :; do sleep 0.05; done']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "up\n"
        started.terminate()
        assert started.wait(30) == Exit.INTERRUPTED
        assert started.stdout.read() == "", "nothing holds the pipe any more"


def test_while_a_run_goes_on_nothing_says_that_it_ended(tmp_path):
    made, _ = way(tmp_path, Stages(rl=Outcome(None, False, "it was stopped")))
    pipeline.run(SETTINGS, made, {})

    def looks(job):
        assert Follower(job.folder.path).read().state == ""
        return Outcome(Path("/w"))

    made, _ = way(tmp_path, Stages(rl=looks))
    assert pipeline.run(SETTINGS, made, {}).finished
    assert Follower(made.folder.path).read().state == "finished"


def test_a_folder_of_another_recipe_is_left_alone(tmp_path):
    made, _ = way(tmp_path, Stages())
    pipeline.run(SETTINGS, made, {})
    with pytest.raises(UserError, match="holds a run of another recipe"):
        pipeline.run(replace(SETTINGS, seed=1), made, {})


def test_a_run_goes_on_with_the_data_that_it_began_with(tmp_path):
    folder, first = RunFolder(tmp_path / "run"), {"data": {"mix": "one"}, "versions": {"torch": "1"}}
    folder.begin("", {"data": {}})
    folder.begin("", first)
    folder.checkpoint("rl", 1).mkdir(parents=True)
    folder.begin("", {**first, "versions": {"torch": "2"}})
    assert json.loads(folder.about.read_text()) == first, "what it began with is not lost"
    assert "goes on with other versions: {'torch': '2'}" in folder.log.read_text()
    with pytest.raises(UserError, match="began with other data"):
        folder.begin("", {**first, "data": {"mix": "two"}})
    with pytest.raises(UserError, match="began with other weights"):
        folder.begin("", {**first, "weights": "/elsewhere"})


def test_signals_that_launchers_hand_on_twice_are_one():
    with Stop(together=60) as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
    with Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def code(tmp_path):
    """A recipe beside one for data that reads a small folder."""
    folder = tmp_path / "code"
    folder.mkdir()
    shutil.copy(recipes.__file__, folder)
    (tmp_path / "few.toml").write_text(
        'name = "few"\n[sources]\nfolders = ["nowhere"]\n[stages]\nquestions = { each = 6 }\n'
        'answering = { from = ["questions"] }\nmix = { from = ["answering"], size = 4 }\n'
    )
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nstages = ["coldstart", "rl"]\n[model]\nsource = "HiPO-8B"\n'
        '[data]\nrecipe = "few"\nsamples = "few/mix"\ntasks = "few/questions"\nset = ["stages.mix.size=3"]\n'
        "[hardware]\ngpus = 2\n"
    )
    return tmp_path


def test_prepare_makes_the_data_and_the_files(code, monkeypatch, capsys):
    monkeypatch.setenv("KAT_CACHE", str(code / "cache"))
    monkeypatch.setenv("KAT_TRAIN_SET", "rl.group=4")
    command = ["train", "run", str(code / "mine.toml"), "--out", str(code / "run"), "--folder", str(code / "code")]
    assert run([*command, "--jobs", "0", "--prepare"]) == Exit.DONE, capsys.readouterr().err
    assert len(list(shards.read(Sample, code / "few/mix"))) == 3
    assert list(shards.read(Task, code / "few/questions"))
    assert {"recipe.toml", "run.json", "accelerate.yaml", "job.slurm"} <= {
        each.name for each in (code / "run").iterdir()
    }
    kept = json.loads((code / "run/run.json").read_text())
    assert kept["base"] == str(code)
    assert set(kept["data"]) == {"few/mix", "few/questions"}
    assert all(kept["data"].values())
    assert kept["versions"]["python"] == sys.version.split()[0]
    assert "group = 4" in (code / "run/recipe.toml").read_text()
    told = capsys.readouterr().err
    assert "few/mix and few/questions: not there yet; first the recipe few" in told
    assert "accelerate.yaml, job.slurm" in told
    assert "there is no GPU here" in told or find_machine().gpus
    assert run([*command, "--prepare"]) == Exit.DONE
    told = capsys.readouterr().err
    assert "not there yet" not in told
    assert "few/mix is there, and is used as it is" in told


def test_data_that_nothing_makes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"samples is not there .* make it with `kat train data`"):
        supply(SETTINGS.data, tmp_path, print)


@pytest.mark.parametrize(
    ("dtype", "cpu", "flags", "told"),
    [
        ("bfloat16", True, {"avx2"}, 1), ("bfloat16", True, {"avx2", "avx512_bf16"}, 0),
        ("float32", True, {"avx2"}, 0), ("bfloat16", False, {"avx2"}, 0), ("bfloat16", True, set(), 0),
    ],
)  # fmt: skip
def test_who_would_wait_for_emulated_numbers_is_told(dtype, cpu, flags, told):
    recipe, lines = replace(SETTINGS, model=replace(SETTINGS.model, dtype=dtype)), []
    advise(recipe, cpu, lines.append, frozenset(flags))
    assert [("--set model.dtype=float32" in line) for line in lines] == [True] * told


def test_gpus_and_tasks_are_missed_before_anything_is_loaded(tmp_path):
    recipe = replace(SETTINGS, stages=("rl", "eval"), data=DataTable(tasks="tasks"), hardware=Hardware(gpus=1))
    with pytest.raises(UserError, match=r"--set hardware\.gpus=0"):
        expect_gpus(recipe, cpu=True)
    expect_gpus(recipe, cpu=False)
    held = replace(task("a", "What is 2 + 3?", answer="`5`", start="", solution=""), kind="question")
    lines = []
    shards.write([replace(held, split="test")], tmp_path / "tasks", kind="task")
    with pytest.raises(UserError, match="no verified task of the train split"):
        expect_tasks(recipe, tmp_path, lines.append)
    shards.write([held], tmp_path / "tasks", kind="task")
    expect_tasks(recipe, tmp_path, lines.append)
    assert lines == ["eval: no task is held out; its table will have the loss on held-out samples at most"]


def test_weights_are_missed_before_hours_go_into_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KAT_MODELS", str(tmp_path))
    monkeypatch.setenv("KAT_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run(["train", "run", "nano"]) == Exit.BAD_INPUT
    assert "fetch it with: kat models pull nano" in capsys.readouterr().err
    assert not (tmp_path / "nano").exists()


@pytest.mark.parametrize("command", ["resume", "eval", "export", "watch"])
def test_what_is_no_run_is_refused(command, tmp_path, capsys):
    assert run(["train", command, str(tmp_path)]) == Exit.BAD_INPUT
    assert "is no folder of a run" in capsys.readouterr().err


def test_a_run_that_trained_nothing_cannot_be_exported(tmp_path, capsys):
    found = Read(SETTINGS, tmp_path)
    shards.write([sample("a")], tmp_path / "samples", kind="sample")
    RunFolder(tmp_path / "run").begin(shown(SETTINGS), about(found, None))
    assert run(["train", "export", str(tmp_path / "run")]) == Exit.BAD_INPUT
    assert "has trained nothing yet" in capsys.readouterr().err


def test_a_single_stage_of_a_recipe(capsys):
    assert run(["train", "coldstart", "nano", "--dry-run", "--seed", "3"]) in (Exit.DONE, Exit.NOT_ACHIEVED)
    told = capsys.readouterr().out
    assert 'stages = ["coldstart"]' in told
    assert "seed = 3" in told
    assert "# rl: trains" not in told
    assert f"{Path('nano-coldstart').absolute()}\n" in told, "not the folder of the whole run"


def test_preview_shows_what_carries_loss(tmp_path, capsys):
    shards.write([sample("a", "What is six times seven?", "42")], tmp_path / "mix", kind="sample")
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\nstages = ["coldstart"]\n[data]\nsamples = "mix"\n')
    assert run(["train", "preview", str(recipe)]) == Exit.DONE
    told = capsys.readouterr().out
    assert "<answer>\n42" in told
    assert "prompt" in told


def test_the_follower_reads_lines_once_and_begins_anew_with_a_new_file(tmp_path):
    folder = RunFolder(tmp_path)
    folder.begin(shown(replace(SETTINGS, coldstart=replace(SETTINGS.coldstart, steps=9))), {})
    follower = Follower(tmp_path)
    assert follower.read().stages == ()
    folder.measured("coldstart", 1, {"loss": 2.0})
    folder.measured("coldstart", 2, {"loss": float("nan"), "lr": 0.1})
    with folder.metrics.open("a") as stream:
        stream.write('{"stage": "coldstart", "st')
    (found,) = follower.read().stages
    assert (found.name, found.step, found.steps) == ("coldstart", 2, 9)
    assert found.figures["loss"][0] == 2.0
    assert found.figures["loss"][1] != found.figures["loss"][1]
    assert len(found.figures["loss"]) == 2
    folder.forget("coldstart", 1)
    folder.say("going on")
    again = follower.read()
    assert list(again.stages[0].figures["loss"]) == [2.0]
    assert again.log[-1].endswith("going on")


def test_curves_need_a_terminal(tmp_path, capsys):
    RunFolder(tmp_path).begin(shown(SETTINGS), {})
    assert run(["train", "watch", str(tmp_path)]) == Exit.BAD_INPUT
    assert "metrics.jsonl" in capsys.readouterr().err


def test_doctor_names_what_would_help(tmp_path):
    found = {each.name: each for each in findings(Place(tmp_path, read(Path("hipo-8b")).recipe, tmp_path), {}, _tried)}
    assert found["samples"].ok is False
    assert "kat train data" in found["samples"].change
    assert found["memory of coldstart"].ok
    assert found["update"].ok
    assert list(found)[-1] == "update", "what takes longest comes last"
    assert not packages(lambda name: None if name == "trl" else 1).ok
    assert "trl" in packages(lambda name: None if name == "trl" else 1).detail
    assert "LD_PRELOAD=libx.so" in allocator({}, lambda name: "libx.so").change
    assert "install libtcmalloc" in allocator({}, lambda name: None).change
    assert allocator({"LD_PRELOAD": "/usr/lib/libtcmalloc.so.4"}).ok
    wanted = Hardware(gpus=2, gpu="h100")
    small = Gpu("L4", 22.5)
    assert wanted_gpus(wanted, [small, small]).ok is False
    assert wanted_gpus(replace(wanted, nodes=4), []).ok is None, "a cluster is asked from elsewhere"
    assert wanted_gpus(wanted, [Gpu("NVIDIA H100", 79.6)] * 2).ok
    (tmp_path / "file").write_text("")
    assert writable(tmp_path / "deep/er").ok


def _tried():
    yield Finding("update", True, "it learned")


def test_nobody_waits_for_torch():
    code = (
        "import sys; from assistant.commands.registry import run; import training.commands.running; "
        "import training.commands.estimating, training.pipeline, training.doctor; run(['train', 'run', 'nano', "
        "'--dry-run']); heavy = {'torch', 'transformers', 'trl', 'peft', 'textual'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
