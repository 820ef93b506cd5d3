"""Distillation from a teacher with another tokenizer: stretches that both cut out, their loss, and the stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import UserError
from tests.tiny import NEEDS_TORCH, make_model
from tests.training import cold_starts
from training.teachers.across import widths

pytestmark = [NEEDS_TORCH, pytest.mark.xdist_group("heavy")]
MERGES = (("i", "s"), ("Ġ", "is"), ("Ã", "©"), ("I", "t"), ("n", "g"))


@pytest.mark.parametrize(
    ("tokens", "text", "sizes"),
    [
        (["def", "Ġf", "Ã©", "ĊĊ"], "def fé\n\n", [3, 2, 2, 2]),
        (["<｜end｜>", "Ġa"], "<｜end｜> a", [11, 2]),
        (["▁def", "é", "<0x0A>"], " defé\n", [4, 2, 1]),
        (["a", "b"], "abc", None),
        ([], "", []),
    ],
)
def test_the_bytes_of_a_token_are_known_from_how_a_vocabulary_writes_it(
    tokens: Sequence[str], text: str, sizes: Any
) -> None:
    assert widths(tokens, text) == sizes


def models(folder: Path) -> tuple[Any, Any]:
    """A model with a token for each byte, and another with merged ones."""
    from training.models.loading import load
    from training.settings import ModelTable

    places = make_model(folder / "model"), make_model(folder / "teacher", seed=7, merges=MERGES)
    student, teacher = (load(ModelTable(source=str(each), dtype="float32"), train=False) for each in places)
    return student, teacher


def across(student: Any, teacher: Any) -> Any:
    from training.teachers.across import AcrossTokenizers
    from training.teachers.local import LocalTeacher
    from training.teachers.store import About

    about = About(teacher="t", revision="", tokenizer="", top=1, spans=True)
    return AcrossTokenizers(LocalTeacher(teacher.model, about, "cpu", teacher.tokenizer), student.tokenizer, about)


def test_stretches_are_of_the_same_bytes_and_as_likely_as_the_teacher_finds_them(tmp_path: Path) -> None:
    student, teacher = models(tmp_path)
    text = "<|im_start|>It is é"
    ids = student.tokens.encode(text, specials=True)
    theirs = teacher.tokens.encode(text, specials=True)
    assert teacher.tokenizer.convert_ids_to_tokens(theirs) == ["<|im_start|>", "It", "Ġis", "Ġ", "Ã©"]
    (said,) = across(student, teacher).said([ids])
    assert said.top[:, 0].tolist() == [0, 2, 0, 0, 3, 1, 0, 2]
    assert said.top.shape == (len(ids) - 1, 1)
    import torch

    rows = teacher.model(torch.tensor([theirs])).logits[0].log_softmax(-1)
    wanted = [float(rows[place, token]) for place, token in enumerate(theirs[1:])]
    assert said.logp[said.top > 0].tolist() == pytest.approx(wanted, abs=0.02)
    (cut,) = across(student, teacher).said([ids[:-1]])
    assert not cut.top.any(), "half a letter is no text that both can read"
    assert [one.top.shape for one in across(student, teacher).said([[5], []])] == [(0, 1), (0, 1)]


def test_loss_and_gradients_are_those_of_the_plain_formula(tmp_path: Path) -> None:
    import torch

    from training.alignment import likelihood
    from training.distilling import Distilling
    from training.examples import Example, Place
    from training.packing import collate
    from training.runtime.loop import counted, totals_of
    from training.runtime.world import World
    from training.settings import Distill
    from training.teachers.taught import Kind, taught

    student, teacher = models(tmp_path)
    reader = across(student, teacher)

    def example(name: str, text: str, prompt: int) -> Example:
        ids = tuple(student.tokens.encode(text, specials=True))
        carries = tuple(index >= prompt for index in range(len(ids)))
        return Example(name, ids, carries, tuple(map(Place, [Place.ANSWER] * len(ids))))

    texts = [example("a", "<|im_start|>It is so", 3), example("b", "<|im_start|>é is é", 2)]
    batch = collate([texts], 256)
    given = taught(batch, lambda ids: reader.said([ids])[0], Kind(1, spans=True), mtp=0.3)
    model = student.model.requires_grad_(True)
    loss = Distilling(model, Distill(chunk=4, share=0.75))
    totals = totals_of(counted(loss, [given], World()))
    total, parts = loss(given, totals)
    total.backward()
    mine = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    plain, inside = torch.zeros(()), 0
    for one in texts:
        ids = torch.tensor(one.ids)
        logq = model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(-1, ids[1:, None])[:, 0]
        said, known = reader.said([one.ids])[0], torch.zeros(len(logq))
        for end, (size, value) in enumerate(zip(said.top[:, 0].tolist(), said.logp[:, 0].tolist(), strict=True)):
            if size and all(one.loss[end - size + 2 : end + 2]):
                known[end - size + 1 : end + 1] = 1
                plain = plain + 0.75 * likelihood(logq[end - size + 1 : end + 1].sum(), torch.tensor(value))
        plain = plain - ((1 - 0.75 * known) * torch.tensor(one.loss[1:]) * logq).sum()
        inside += int(known.sum())
    assert 0 < inside < totals["tokens"], "the stretch that a prompt ends in is left out"
    assert (totals["kd"], totals["tokens"]) == (inside, sum(sum(one.loss) for one in texts))
    plain = plain / totals["tokens"]
    plain.backward()
    torch.testing.assert_close(total, plain, rtol=1e-4, atol=1e-5)
    assert parts["taught"].item() == pytest.approx(inside / totals["tokens"])
    for name, weight in model.named_parameters():
        torch.testing.assert_close(mine[name], weight.grad, rtol=1e-3, atol=1e-5, msg=name)


def job(base: Path, **settings: Any) -> Any:
    """A distillation of a model with merged tokens into one without."""
    from training.settings import Distill, Mtp

    cold = cold_starts.job(base, "run", dtype="float32")
    fit: dict[str, Any] = {"steps": 8, "batch": 1_024, "save": 8, "evaluate": 1, "lr": 3e-3, "warmup": 0}
    distill = Distill(**(fit | {"teacher": str(base / "teacher")} | settings))
    model = replace(cold.recipe.model, mtp=Mtp(depth=1), lora=None)
    return replace(cold, stage="distill", recipe=replace(cold.recipe, model=model, distill=distill))


def test_the_stage_learns_from_it_and_says_how(tmp_path: Path) -> None:
    from training.distill import run
    from training.runtime.folder import rows

    cold_starts.prepared(tmp_path)
    make_model(tmp_path / "teacher", hidden=256, seed=7, merges=MERGES)
    lines: list[str] = []
    given = replace(job(tmp_path, on_policy=0.25, share=1.0), say=lines.append)
    outcome = run(given)
    assert outcome.finished
    assert any("has another tokenizer; stretches that both cut out are compared" in line for line in lines)
    assert any("stretches that its tokenizer cuts out, too" in note for note in outcome.notes)
    found = list(rows(given.folder.metrics))
    assert {"loss_ce", "loss_kd", "draft_1", "taught", "valid_loss_kd"} <= set(found[0])
    assert found[-1]["valid_loss_kd"] < 0.85 * found[0]["valid_loss_kd"]
    unread = [row["loss_ce"] for row in found if not row["taught"]]
    assert unread == [0.0] * len(unread) != [], "random bytes of its own that no teacher can read teach it nothing"
    with pytest.raises(UserError, match=r"compared at temperature 1; set distill\.temperature = 1\.0"):
        run(job(tmp_path, temperature=2.0))
