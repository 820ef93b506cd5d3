from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import NEEDS_TORCH, make_model

pytestmark = [pytest.mark.xdist_group("heavy"), NEEDS_TORCH]
torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from transformers import TrainerControl, TrainerState  # noqa: E402

from tests.training.records import question  # noqa: E402
from tests.training.toy_family import score, tiny, tokenizer, voice  # noqa: E402
from training.advantages import Groups, normalised  # noqa: E402
from training.curriculum import Curriculum  # noqa: E402
from training.data.flow.shards import write  # noqa: E402
from training.data.schema import Provenance, Task  # noqa: E402
from training.examples import Place  # noqa: E402
from training.models.loading import load  # noqa: E402
from training.recording import Recorder  # noqa: E402
from training.rewards import Score  # noqa: E402
from training.rollout import Replies, Seat, Tried, Turn  # noqa: E402
from training.runtime.folder import RunFolder, rows  # noqa: E402
from training.runtime.job import Job  # noqa: E402
from training.runtime.metrics import Metrics  # noqa: E402
from training.runtime.progress import Progress  # noqa: E402
from training.runtime.stopping import Stop  # noqa: E402
from training.runtime.world import World  # noqa: E402
from training.sampling import Limits, Sampler  # noqa: E402
from training.settings import AdvantageName, DataTable, Lora, ModelTable, Recipe, Rl  # noqa: E402
from training.step_srpo import StepSRPOTrainer, Work, config, learn, mastered, mixed, playing  # noqa: E402
from training.tasking import tasks  # noqa: E402
from training.trl_trainer import GRPOTrainer  # noqa: E402

TOKENIZER = tokenizer()
SETTINGS = Rl(prompts=2, group=4, tokens=12, lr=1e-3, judge=6, think=8, paired=False)
NAMES = {f"t{number}": f"a{number}=" for number in range(6)}


class OneSegment:
    """Replies in which nothing is a judge, and nobody chose a mode."""

    def __init__(self, play: Replies[str]) -> None:
        self._play = play

    def __call__(self, seats: Any, seed: int) -> list[Tried]:
        return [self._merged(one) for one in self._play(seats, seed)]

    def _merged(self, tried: Tried) -> Tried:
        (turn,) = tried.turns
        written = replace(turn.written, places=(Place.ANSWER,) * len(turn.written.places))
        return replace(tried, turns=(Turn(turn.prompt, written),), mode=None)


class WithTrl(StepSRPOTrainer[str]):
    """Learns by TRL's own advantages."""

    def _advantages(self, groups: Groups, out: Mapping[str, Any]) -> Any:
        return out["advantages"][:, None].expand_as(out["completion_ids"])


def trained(
    place: Path, kind: Callable[..., Any] = StepSRPOTrainer, name: AdvantageName = "step_srpo", **changes: Any
) -> Any:
    """A tiny model after two updates."""
    model = tiny(len(TOKENIZER))
    said = voice(TOKENIZER, model)
    draws = Sampler(model, said.tokens.ends, TOKENIZER.pad_token_id, said.watch)
    one = bool(changes.pop("one_segment", False))
    play = Replies(draws, said, lambda task: said.tokens.encode(task, specials=True), score, Limits(SETTINGS.tokens))
    settings = replace(SETTINGS, advantage=name, **changes)
    args = config(settings, str(place), steps=2, micro=4, save_strategy="no")
    work = Work(NAMES, OneSegment(play) if one else play, Curriculum(sorted(NAMES)))
    made = kind(model=model, tokenizer=TOKENIZER, work=work, rl=settings, args=args)
    made.train()
    return made


def weights(trainer: Any) -> Any:
    return torch.cat([each.detach().flatten() for each in trainer.model.parameters()])


def test_step_srpo_with_one_segment_is_grpo_bit_for_bit(tmp_path):
    ours = trained(tmp_path, one_segment=True)
    named = trained(tmp_path, name="grpo", one_segment=True)
    theirs = trained(tmp_path, WithTrl, one_segment=True)
    assert torch.equal(weights(ours), weights(named))
    assert torch.equal(weights(ours), weights(theirs))
    assert not torch.equal(weights(ours), weights(trained(tmp_path, paired=True)))
    assert not torch.equal(weights(ours), torch.cat([each.flatten() for each in tiny(len(TOKENIZER)).parameters()]))
    log = ours.state.log_history[0]
    assert log["clip_ratio/region_mean"] == 0  # what was drawn is as likely as when it was drawn
    assert {"accuracy", "think_rate", "mode_accuracy", "single_mode", "judge_tokens", "entropy"} <= set(log)


def test_log_probabilities_do_not_see_padding_nor_other_documents(tmp_path):
    trainer = trained(tmp_path)
    torch.manual_seed(1)
    ids = torch.randint(5, 60, (3, 12))
    mask = torch.ones_like(ids)
    mask[0, :3] = mask[1, :1] = 0
    mask[1, 9:] = mask[2, 11:] = 0
    own = torch.ones(3, 7, dtype=torch.long)
    own[2, 2] = own[0, 3] = 0
    documents = torch.zeros(3, 7, dtype=torch.long)
    documents[2, 2:] = 1
    trainer._inputs = {"tool_mask": own, "documents": documents}
    plain = tiny(len(TOKENIZER))
    plain.load_state_dict(trainer.model.state_dict())
    found, entropy, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 7, compute_entropy=True)
    with torch.no_grad():
        for number, (start, end, split) in enumerate([(3, 12, 5), (1, 9, 5), (0, 11, 7)]):
            for first, last in ((start, end),) if number < 2 else ((start, split), (split, end)):
                likely = plain(input_ids=ids[number : number + 1, first:last]).logits.log_softmax(-1)[0]
                for at in range(max(first + 1, 5), last):
                    counts = bool(own[number, at - 5])
                    expected = likely[at - first - 1]
                    value = expected[ids[number, at]] if counts else torch.tensor(0.0)
                    mean = -(expected.exp() * expected).sum() if counts else torch.tensor(0.0)
                    assert found[number, at - 5].item() == pytest.approx(value.item(), abs=1e-4)
                    assert entropy[number, at - 5].item() == pytest.approx(mean.item(), abs=1e-4)
    assert not found[1, 4:].any()


def test_ratios_to_another_engine_are_truncated_token_by_token(tmp_path):
    trainer = trained(tmp_path)
    ids = torch.randint(5, 60, (2, 9))
    out = {
        "prompt_ids": ids[:, :4], "completion_ids": ids[:, 4:], "prompt_mask": torch.ones(2, 4, dtype=torch.long),
        "completion_mask": torch.ones(2, 5, dtype=torch.long), "tool_mask": torch.ones(2, 5, dtype=torch.long),
        "advantages": torch.ones(2, 5), "old_per_token_logps": torch.zeros(2, 5),
    }  # fmt: skip
    whole = torch.ones(2, 9, dtype=torch.long)
    old, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, whole, 5)
    out["old_per_token_logps"] = old.detach() - torch.tensor([0.0, 0.5, 5.0, -0.5, 0.0])
    trainer._correct(out)
    assert torch.allclose(out["advantages"], torch.exp(torch.tensor([0.0, 0.5, 5.0, -0.5, 0.0])).clamp(max=2.0))
    assert torch.allclose(out["old_per_token_logps"], old)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("compute_loss", ["self", "model", "inputs", "return_outputs", "num_items_in_batch"]),
        ("_prepare_inputs", ["self", "generation_batch"]),
        ("_calculate_rewards", ["self", "inputs", "prompts", "completions", "completion_ids_list"]),
        ("_generate_and_score_completions", ["self", "inputs"]),
        ("_compute_loss", ["self", "model", "inputs"]),
        (
            "_get_per_token_logps_and_entropies",
            ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy",
             "compute_aux_loss"],
        ),
    ],
)  # fmt: skip
def test_private_methods_of_trl_take_what_we_expect(name, arguments):
    found = list(inspect.signature(inspect.unwrap(getattr(GRPOTrainer, name))).parameters)
    assert found[: len(arguments)] == arguments
    if name == "_get_per_token_logps_and_entropies":
        assert all("image" in each or "pixel" in each or "tile" in each or "type_ids" in each or "shapes" in each
                   for each in found[len(arguments):])  # fmt: skip


def test_trl_does_not_bring_vllm_along():
    assert not importlib.import_module("trl.generation.vllm_generation").is_vllm_available()


def test_trl_behaves_as_the_trainer_relies_on(tmp_path):
    seen: dict[str, Any] = {}

    class Looks(StepSRPOTrainer[str]):
        def _roll(self, prompts: Any, trainer: Any) -> dict[str, Any]:
            seen["prompts"] = list(prompts)
            found = super()._roll(prompts, trainer)
            seen["own"] = found["env_mask"]
            return found

        def _calculate_rewards(self, inputs: Any, *rest: Any) -> Any:
            seen["extras"] = set(inputs[0])
            found = super()._calculate_rewards(inputs, *rest)
            seen["rewards"] = found.clone()
            return found

        def _advantages(self, groups: Groups, out: Mapping[str, Any]) -> Any:
            seen["theirs"], seen["out"] = out["advantages"], set(out)
            seen["lengths"] = (out["tool_mask"] * out["completion_mask"]).sum(-1).tolist()
            return super()._advantages(groups, out)

        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            seen.setdefault("order", []).extend(inputs["order"].tolist())
            seen["batch"] = {name: tuple(value.shape) for name, value in inputs.items()}
            return super()._compute_loss(model, inputs)

    trained(tmp_path, Looks)
    assert seen["prompts"] == ["0"] * 4 + ["1"] * 4  # repeated for the group, and a group in one piece
    assert {"columns", "documents", "places", "prompt"} <= seen["extras"]
    assert seen["rewards"].shape == (8, 1)
    assert {"sampling_per_token_logps", "tool_mask", "completion_mask", "num_items_in_batch"} <= seen["out"]
    assert seen["lengths"] == [sum(each) for each in seen["own"]]
    assert seen["order"] == [*range(8)] * 2  # a group's replies beside each other, although TRL shuffles
    width = seen["batch"]["completion_ids"][1]
    for name in ("advantages", "old_per_token_logps", "documents", "places", "tool_mask"):
        assert seen["batch"][name] == (4, width), name  # split into micro-batches with everything else
    assert torch.equal(seen["theirs"], normalised(seen["rewards"].view(2, 4)).view(-1))


def job(base: Path, name: str, stop: Stop | None = None, **changes: Any) -> Job:
    settings: dict[str, Any] = {"steps": 2, "prompts": 2, "group": 4, "tokens": 16, "judge": 4, "think": 4, "lr": 1e-2}
    recipe = Recipe(
        name="tiny",
        stages=("rl",),
        model=ModelTable(source=str(base / "model"), dtype="bfloat16", lora=changes.pop("lora", Lora(rank=8))),
        data=DataTable(tasks="tasks"),
        rl=Rl(**(settings | changes)),
    )
    folder = RunFolder(base / name)
    folder.begin(f"name = '{name}'\n", {})
    return Job("rl", recipe, folder, World(), base, stop=stop or Stop(), say=folder.say)


def learned(job: Job) -> Any:
    """The stage on its tasks; replies are worth something by their tokens' sum."""
    torch.manual_seed(0)
    loaded = load(job.recipe.model)
    known = tasks(job.recipe.data, job.base)
    found = playing(job, loaded, known)

    def odd(task: Task, written: Any) -> Score:
        return Score(sum(written.drawn.ids) % 7 / 6, 0.0)

    assert isinstance(found.play, Replies)
    return learn(job, loaded, known, replace(found, play=replace(found.play, score=odd)))


def test_a_figure_that_is_no_number_stops_the_stage_and_leaves_the_checkpoint_before(tmp_path):
    found = job(tmp_path, "run", save=1)
    recorder = Recorder(found, Curriculum(["a"]), Metrics(found.folder, "rl"), Progress("rl", 30), None)
    recorder.begin()
    control = TrainerControl(should_save=True)
    recorder.on_log(None, TrainerState(global_step=1), control, {"loss": 0.1, "grad_norm": 0.5, "entropy": 2.0})
    assert control.should_save
    assert not control.should_training_stop
    recorder.on_log(None, TrainerState(global_step=2), control, {"loss": 0.1, "grad_norm": float("nan")})
    assert not control.should_save
    assert control.should_training_stop
    assert "the grad norm is nan" in recorder.why


def test_a_stage_that_goes_on_knows_how_it_began(tmp_path):
    found = job(tmp_path, "run")
    with Metrics(found.folder, "rl") as metrics:
        for step in range(1, 21):
            metrics.put(step, {"loss": 0.1, "entropy": 2.0})
    recorder = Recorder(found, Curriculum(["a"]), None, None, None)
    recorder.begin()
    control = TrainerControl()
    for step in range(21, 42):
        recorder.on_log(None, TrainerState(global_step=step), control, {"loss": 0.1, "entropy": 0.001})
    assert "the entropy fell from 2.000" in recorder.why


def test_masters_are_of_one_process(tmp_path):
    model, found = tiny(len(TOKENIZER)).bfloat16(), job(tmp_path, "run")
    assert mastered(model, found) is not None
    assert mastered(model.float(), found) is None
    assert mastered(model.bfloat16(), replace(found, world=World(size=2))) is None  # accelerate has its own


def test_what_has_no_other_form_is_always_played_as_an_episode(tmp_path):
    about = {"kind": "commit", "statement": "It is wrong", "provenance": Provenance("here")}
    tests = [
        Task("played", **about, fail_to_pass=("t.py::test",)),
        Task("both", **about, context="def f(): ...", fail_to_pass=("t.py::test",)),
        Task("told", **about, context="def f(): ..."),
        Task("neither", **about),
    ]
    write(tests, tmp_path / "tasks", kind="task", format="jsonl")
    table = DataTable(tasks="tasks")
    assert set(tasks(table, tmp_path)) == {"both", "told"}
    known = tasks(table, tmp_path, episodes=True)
    assert set(known) == {"played", "both", "told"}

    def named(kind: str) -> Any:
        return lambda seats, seed: [f"{kind} {seat.task.id}" for seat in seats]

    asked = [Seat(known[name]) for name in ("both", "played", "told")]
    few, many = (mixed(named("reply"), named("episode"), share, 0)(asked, 0) for share in (0.0, 1.0))
    assert few == ["reply both", "episode played", "reply told"]
    assert many == ["episode both", "episode played", "reply told"]


class After(Stop):
    """Asks to stop behind an update."""

    def __init__(self, updates: int) -> None:
        self._left = updates
        super().__init__()

    @property
    def asked(self) -> bool:
        self._left -= 1
        return self._left <= 0

    @asked.setter
    def asked(self, value: bool) -> None:
        pass


@pytest.mark.parametrize("lora", [Lora(rank=8), None])
def test_the_stage_learns_stops_and_goes_on_as_if_it_had_not(tmp_path, lora):
    make_model(tmp_path / "model")
    write(map(question, "abcd"), tmp_path / "tasks", kind="task", format="jsonl")
    whole = learned(job(tmp_path, "whole", lora=lora))
    assert whole.finished
    assert whole.weights is not None
    stopped = learned(job(tmp_path, "parts", After(1), lora=lora))
    assert not stopped.finished
    assert "stopped after update 1 of 2" in stopped.why
    assert "checkpoint-1" in stopped.why
    again = learned(job(tmp_path, "parts", lora=lora))
    assert again.finished
    kept = [list(rows(tmp_path / name / "metrics.jsonl")) for name in ("whole", "parts")]
    assert [[row["step"] for row in each] for each in kept] == [[1, 2]] * 2
    assert [row["loss"] for row in kept[0]] == [row["loss"] for row in kept[1]]
    assert [row["grad_norm"] for row in kept[0]] == [row["grad_norm"] for row in kept[1]]
    assert kept[0][0]["grad_norm"] > 0
    sample = json.loads((tmp_path / "whole" / "samples.jsonl").read_text().splitlines()[0])
    assert sample["task"].startswith("q")
    assert (tmp_path / "whole" / "checkpoints" / "rl" / "checkpoint-0" / "curriculum.json").is_file()
    names = {each.name for each in whole.weights.iterdir()}
    assert ("adapter_model.safetensors" if lora else "model.safetensors") in names
