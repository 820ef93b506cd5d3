"""Distillation on tiny models: the loss beside a plain formula, teacher rows from here and from a server, the stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import UserError
from tests.tiny import NEEDS_TORCH

pytestmark = [NEEDS_TORCH, pytest.mark.xdist_group("heavy")]
TOP = 8


def lessons(model: Any, batch: Any) -> Any:
    """The batch with what a model says of it."""
    from training.teachers.local import LocalTeacher
    from training.teachers.store import About
    from training.teachers.taught import Kind, taught

    teacher = LocalTeacher(model, About(teacher="t", revision="", tokenizer="", top=TOP))
    return taught(batch, lambda ids: teacher.said([ids])[0], Kind(TOP), mtp=0.3)


def packed() -> Any:
    from tests.training.tiny_llama import random_examples
    from training.packing import collate

    examples = random_examples(4, seed=3)
    return collate([examples[:2], examples[2:]], 0)


def plainly(loss: Any, given: Any, totals: Any) -> Any:
    """The same sum, document by document, with whole logits and autograd."""
    import torch

    total = torch.zeros(())
    for row, line in enumerate(given.batch.documents):
        for document in range(int(line.max()) + 1):
            at = (line == document).nonzero()[:, 0]
            ids, targets = given.batch.ids[row, at][None], given.batch.targets[row, at]
            out = loss.model(input_ids=ids, output_hidden_states=True, use_cache=False)
            hidden, head = out.hidden_states[-1], loss.model.get_output_embeddings().weight
            total = total + _term(out.logits[0], targets, given, row, at, 0.9, 1 / totals["tokens"])
            embeddings = loss.model.get_input_embeddings()(ids).detach()
            positions = torch.arange(ids.shape[1])[None]
            raw = hidden if loss.module.layout == "eagle" else _raw(loss.model, ids)
            for k, drafted in enumerate(loss.module.unrolled(raw, embeddings, positions, 2), 1):
                weight = 0.3 * (0.625, 0.375)[k - 1] / totals[f"mtp_{k}"]
                logits = drafted[0] @ head.detach().T
                total = total + _term(logits, targets[k:], given, row, at[k:], 0.5, weight)
    return total


def _raw(model: Any, ids: Any) -> Any:
    from training.models.mtp import before_norm

    with before_norm(model) as kept:
        model(input_ids=ids, use_cache=False)
    return kept[0]


def _term(logits: Any, targets: Any, given: Any, row: int, at: Any, share: float, weight: float) -> Any:
    import torch

    total = torch.zeros(())
    for logq, target, place in zip(logits.log_softmax(-1), targets.tolist(), at.tolist(), strict=True):
        if target < 0:
            continue
        p, top = given.logp[row, place].exp(), given.top[row, place].long()
        rest, own = 1 - p.sum(), 1 - logq[top].exp().sum()
        kd = (p * (p.log() - logq[top])).sum() + rest * (rest.log() - own.log())
        total = total + weight * (share * kd - (1 - share) * logq[target])
    return total


@pytest.mark.parametrize("layout", ["eagle", "mimo"])
def test_loss_and_gradients_are_those_of_the_plain_formula(layout: Any):
    import torch

    from tests.training.tiny_llama import tiny_llama
    from training.distilling import Distilling
    from training.models.mtp import MtpModule
    from training.runtime.loop import counted, totals_of
    from training.runtime.world import World
    from training.settings import Distill

    model = tiny_llama(tied=False)
    loss = Distilling(model, Distill(top=TOP, chunk=16), MtpModule.of(model, layout), depth=2)
    torch.nn.init.normal_(next(loss.module.block.parameters()), std=0.1)
    given = lessons(tiny_llama(seed=7), packed())
    totals = totals_of(counted(loss, [given], World()))
    assert totals["kd"] == totals["tokens"] > totals["mtp_1"] - 1
    ours = loss(given, totals).total
    ours.backward()
    mine = {name: weight.grad.clone() for name, weight in loss.named_parameters() if weight.grad is not None}
    loss.zero_grad()
    plain = plainly(loss, given, totals)
    plain.backward()
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)
    for name, weight in loss.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(mine[name], weight.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_a_temperature_softens_what_the_teacher_says_and_not_the_texts():
    from tests.training.tiny_llama import tiny_llama
    from training.distilling import Distilling
    from training.runtime.loop import counted, totals_of
    from training.runtime.world import World
    from training.settings import Distill

    model, given = tiny_llama(), lessons(tiny_llama(seed=7), packed())

    def of(share: float, temperature: float) -> dict[str, float]:
        loss = Distilling(model, Distill(top=TOP, chunk=16, share=share, temperature=temperature))
        totals = totals_of(counted(loss, [given], World()))
        total, parts = loss(given, totals)
        return {"total": total.item(), **{name: part.item() for name, part in parts.items()}}

    plain, soft = of(0.0, 1.0), of(0.0, 2.0)
    assert soft["total"] == pytest.approx(plain["total"], rel=1e-5), "cross-entropy is of the model as it is used"
    assert soft["loss_ce"] == pytest.approx(plain["loss_ce"], rel=1e-5)
    assert soft["loss_kd"] != pytest.approx(plain["loss_kd"], rel=1e-2)
    whole = of(1.0, 2.0)
    assert whole["total"] == pytest.approx(4 * whole["loss_kd"], rel=1e-4)
    carries = given.batch.targets >= 0
    hidden = model(**given.batch.attention, output_hidden_states=True).hidden_states[-1][carries]
    logq = (model.get_output_embeddings()(hidden) / 2).log_softmax(-1)
    p, top = given.logp[carries].exp(), given.top[carries].long()
    rest, own = 1 - p.sum(-1), 1 - logq.gather(-1, top).exp().sum(-1)
    kd = (p * (p.log() - logq.gather(-1, top))).sum(-1) + rest * (rest.log() - own.log())
    assert whole["loss_kd"] == pytest.approx(kd.mean().item(), rel=1e-3)


def test_where_no_teacher_said_anything_there_is_no_figure_of_it():
    from tests.training.tiny_llama import tiny_llama
    from training.coldstart import held_out
    from training.distilling import Distilling
    from training.runtime.loop import update
    from training.runtime.optimizer import Optimizer
    from training.runtime.world import World
    from training.settings import Distill
    from training.teachers.taught import Kind, taught

    loss, given = Distilling(tiny_llama(), Distill(top=TOP)), taught(packed(), lambda ids: None, Kind(TOP))
    figures = update(loss, [given], Optimizer(loss, Distill()), 1e-3, World())
    assert figures["taught"] == 0.0
    assert "loss_kd" not in figures
    assert "valid_loss_kd" not in held_out(loss, [given], World())


def test_a_teacher_that_is_trained_further_is_another(tmp_path: Path):
    from training.teachers.naming import _revision

    (tmp_path / "model.safetensors").write_bytes(b"one")
    (tmp_path / "config.json").write_text("{}")
    before = _revision(str(tmp_path), tmp_path)
    assert _revision(str(tmp_path), tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert _revision(str(tmp_path), tmp_path) != before
    assert _revision("owner/name", tmp_path) == tmp_path.name, "a snapshot is named by its content"


def test_a_later_stage_finds_the_module_that_its_run_has(tmp_path: Path):
    from tests.training import cold_starts
    from tests.training.tiny_llama import tiny_llama
    from training.models.mtp import MtpModule
    from training.modules import module_of

    given = cold_starts.job(tmp_path, "run")
    weights = tmp_path / "run" / "rl" / "weights"
    weights.mkdir(parents=True)
    after = replace(given, weights=weights)
    assert module_of(after) is None
    MtpModule.of(tiny_llama()).save(tmp_path / "run" / "distill" / "weights" / "mtp")
    assert module_of(after) == tmp_path / "run" / "distill" / "weights" / "mtp"
    assert module_of(given) is None, "without weights all begins anew"


def test_a_drafter_alone_learns_what_its_frozen_model_says():
    import torch

    from tests.training.tiny_llama import tiny_llama
    from training.distilling import Distilling
    from training.models.mtp import MtpModule
    from training.runtime.loop import counted, totals_of, update
    from training.runtime.optimizer import Optimizer
    from training.runtime.world import World
    from training.settings import Distill

    model = tiny_llama()
    before = [weight.clone() for weight in model.parameters()]
    module = MtpModule.of(model, "mimo")
    loss = Distilling(model, Distill(top=TOP, drafter_only=True), module, depth=2)
    given = lessons(model, packed())
    optimizer = Optimizer(loss, Distill(lr=1e-2, warmup=0))
    assert totals_of(counted(loss, [given], World()))["mtp_1"] > 2 * given.tokens * 0.8, "prompts are drafted as well"
    figures = [update(loss, [given], optimizer, 1e-2, World()) for _ in range(25)]
    assert figures[0]["draft_1"] < 0.3
    assert figures[-1]["draft_1"] > 0.9
    assert all(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))


def job(base: Path, **settings: Any) -> Any:
    """A distillation of one tiny model into another."""
    from tests.training import cold_starts
    from training.settings import Distill, Mtp

    cold = cold_starts.job(base, "run", dtype="float32")
    model = replace(cold.recipe.model, mtp=Mtp(depth=2))
    fit: dict[str, Any] = {"steps": 4, "batch": 1_024, "save": 2, "evaluate": 4, "lr": 1e-2, "warmup": 0, "top": TOP}
    distill = Distill(**(fit | {"teacher": str(base / "model")} | settings))
    return replace(cold, stage="distill", recipe=replace(cold.recipe, model=model, distill=distill))


def test_the_stage_fills_the_store_once_and_leaves_weights_with_a_drafter(tmp_path: Path):
    from tests.training import cold_starts
    from training.distill import run
    from training.models.mtp import MtpModule
    from training.modules import FOLDER
    from training.runtime.folder import rows

    cold_starts.prepared(tmp_path)
    given = job(tmp_path, on_policy=0.5)
    outcome = run(given)
    assert outcome.finished
    found = list(rows(given.folder.metrics))
    assert {"loss_ce", "loss_kd", "draft_1", "draft_2", "valid_loss_kd"} <= set(found[-1])
    assert found[0]["loss_kd"] < 0.01, "the student begins as its teacher, but for rounding and dropout"
    assert found[0]["taught"] == pytest.approx(1.0)
    assert MtpModule.load(outcome.weights / FOLDER).layout == "eagle"
    parts = sorted((given.folder.path / "distill" / "teacher").glob("part-*.parquet"))
    assert len(parts) == 1
    stopped = job(tmp_path)
    stopped.stop.ask()
    assert "update 5" in run(replace(stopped, recipe=_longer(stopped))).why, "nothing was left to ask of the teacher"


def _longer(given: Any) -> Any:
    return replace(given.recipe, distill=replace(given.recipe.distill, steps=9))


def test_own_texts_are_written_in_parts_no_larger_than_a_row():
    from training.distill import _even, _prompt, _room
    from training.examples import Example, Place

    def example(prompt: int, reply: int) -> Example:
        size = prompt + reply
        loss = (*(False,) * prompt, *(True,) * reply)
        return Example("e", tuple(range(size)), loss, (Place.ANSWER,) * size)

    examples = [example(prompt, reply) for prompt, reply in ((5, 3), (60, 30), (6, 2), (4, 4), (90, 5), (7, 1))]
    parts = list(_even(examples, 100))
    assert sorted(index for part in parts for index in part) == list(range(6))
    assert len(parts) == 3
    for part in parts:
        some = [examples[index] for index in part]
        assert len(some) * (max(map(_prompt, some)) + max(map(_room, some))) <= 100


def test_refusals(tmp_path: Path):
    from tests.training import cold_starts
    from training.distill import run

    cold_starts.prepared(tmp_path)
    given = job(tmp_path, teacher="", on_policy=0.5)
    with pytest.raises(UserError, match="needs a teacher"):
        run(given)
    bare = job(tmp_path, drafter_only=True)
    with pytest.raises(UserError, match=r"add \[model.mtp\]"):
        run(replace(bare, recipe=replace(bare.recipe, model=replace(bare.recipe.model, mtp=None))))


def test_a_server_says_what_the_model_says():
    import httpx2
    import torch

    from tests.training.tiny_llama import tiny_llama
    from training.teachers.local import LocalTeacher
    from training.teachers.server import ServerTeacher
    from training.teachers.store import About

    model = tiny_llama()

    def answer(request: Any) -> Any:
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json={"data": [{"id": "big", "root": "r1"}]})
        asked = json.loads(request.content)
        if request.url.path == "/tokenize":
            return httpx2.Response(200, json={"tokens": [1, 2, 3], "token_strs": ["a", "b", "c"]})
        logp = model(torch.tensor([asked["prompt"]])).logits[0].log_softmax(-1)
        rows: list[Any] = [None]
        for row, after in zip(logp[:-1], asked["prompt"][1:], strict=True):
            tokens = {*row.topk(asked["prompt_logprobs"]).indices.tolist(), after}
            rows.append({str(token): {"logprob": float(row[token])} for token in sorted(tokens)})
        return httpx2.Response(200, json={"choices": [{"prompt_logprobs": rows}]})

    transport = httpx2.MockTransport(answer)
    server = ServerTeacher("http://teacher/v1", TOP, "h", transport)
    assert (server.about.teacher, server.about.revision) == ("big", "r1")
    local = LocalTeacher(model, About(teacher="t", revision="", tokenizer="", top=TOP))
    for one, two in zip(server.said([[5, 6, 7, 9], [4]]), local.said([[5, 6, 7, 9], [4]]), strict=True):
        assert one.top.shape == two.top.shape
        assert one.top.tolist() == two.top.tolist()
        assert abs(one.logp.astype(float) - two.logp.astype(float)).max(initial=0.0) < 1e-2
    assert server.cuts_alike([1, 2, 3])
    assert not server.cuts_alike([1, 2])
    assert server.cut("abc") == ([1, 2, 3], ["a", "b", "c"])
    assert server.likely([5, 6, 7, 9]) == pytest.approx(local.likely([5, 6, 7, 9]), abs=1e-5)
