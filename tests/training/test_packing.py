"""Packed rows: full, whole, the same every time; and a model reads a packed document as it reads it alone."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from tests.tiny import NEEDS_TORCH, make_model

torch = pytest.importorskip("torch")

from training.attending import NAME, attend_by_document  # noqa: E402
from training.examples import IGNORED, Example, Place  # noqa: E402
from training.head import (  # noqa: E402
    LossModel,
    backbone,
    compact,
    head_of,
    head_weight,
    last_hidden,
    scoring,
    token_logprobs,
)
from training.losses import CrossEntropy  # noqa: E402
from training.packing import PADDING, Batch, collate, rows  # noqa: E402
from training.seeds import rng  # noqa: E402

pytestmark = [pytest.mark.xdist_group("heavy"), NEEDS_TORCH]


def example(name: str, length: int, prompt: int | None = None, vocabulary: int = 256) -> Example:
    numbers, prompt = rng(0, name), length // 2 if prompt is None else prompt
    ids = tuple(numbers.randrange(vocabulary) for _ in range(length))
    places = (Place.PROMPT,) * prompt + (Place.ANSWER,) * (length - prompt)
    return Example(name, ids, (False,) * prompt + (True,) * (length - prompt), places)


def examples(*lengths: int) -> list[Example]:
    return [example(f"e{index}", length) for index, length in enumerate(lengths)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=40), st.integers(4, 32), st.integers(1, 12))
def test_each_example_that_fits_is_in_one_row_whole(lengths: list[int], row: int, window: int) -> None:
    some, out = examples(*lengths), list[Example]()
    packed = list(rows(some, row, 1, window, out.append))
    assert all(sum(map(len, one)) <= row for one in packed)
    assert all(packed)
    found = [one.id for line in packed for one in line]
    assert sorted(found + [one.id for one in out]) == sorted(one.id for one in some)
    assert all(len(one) > row for one in out)
    assert packed == list(rows(some, row, 1, window))


def test_rows_are_full_and_the_seed_decides_their_order() -> None:
    numbers = rng(0, "lengths")
    lengths = [max(8, min(2048, int(numbers.lognormvariate(5.6, 0.8)))) for _ in range(2500)]
    packed = [[len(one) for one in row] for row in rows(map(_hollow, lengths), 2048, 1)]
    assert sum(lengths) / (2048 * len(packed)) > 0.99
    other = [[len(one) for one in row] for row in rows(map(_hollow, lengths), 2048, 2)]
    assert packed != other
    assert sorted(packed) == sorted(other)


def _hollow(length: int) -> Any:
    return _Length(length)


class _Length:
    """An example of which only the length is looked at."""

    id = ""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


def test_a_batch_says_what_is_where() -> None:
    one, two, three = example("a", 4, 2), example("b", 3, 1), example("c", 2, 1)
    batch = collate([[one, two], [three]], pad_id=9, width=8)
    assert batch.ids.tolist() == [[*one.ids, *two.ids, 9], [*three.ids, 9, 9, 9, 9, 9, 9]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6, 7]]
    assert batch.documents.tolist() == [[0, 0, 0, 0, 1, 1, 1, PADDING], [0, 0] + [PADDING] * 6]
    no = IGNORED
    assert batch.targets.tolist() == [
        [no, one.ids[2], one.ids[3], no, two.ids[1], two.ids[2], no, no],
        [three.ids[1], *[no] * 7],
    ]
    answer = int(Place.ANSWER)
    assert batch.places.tolist() == [[0, answer, answer, 0, answer, answer, 0, 0], [answer, *[0] * 7]]
    assert (batch.tokens, batch.filled) == (5, 9 / 16)
    assert collate([[one], [two]], 0).ids.shape == (2, 4)
    with pytest.raises(ValueError, match="7 tokens, more than the 6"):
        collate([[one, two]], 0, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


def loaded(folder: Path, attention: str = "sdpa") -> Any:
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_logits_are_those_of_each_document_alone(folder: Path, attention: str) -> None:
    model, some = loaded(folder, attention).train(), examples(17, 23, 5, 31, 11)
    batch = collate([some[:3], some[3:]], pad_id=0, width=50)
    assert batch.lengths == ((17, 23, 5, 5), (31, 11, 8))
    with torch.no_grad():
        packed = head_of(model).logits(last_hidden(model, batch).view(-1, 32)).view(2, 50, -1)
        attend_by_document(model)
        assert model.config._attn_implementation == (NAME if attention == "sdpa" else attention)
        by_document = head_of(model).logits(last_hidden(model, batch).view(-1, 32)).view(2, 50, -1)
        there = batch.documents != PADDING
        assert (packed[there] - by_document[there]).abs().max() < 1e-4
        leaks = model(input_ids=batch.ids, position_ids=batch.positions, use_cache=True).logits
        for row, line in enumerate((some[:3], some[3:])):
            start = 0
            for one in line:
                alone = model(torch.tensor([one.ids]), use_cache=False).logits[0]
                here = slice(start, start + len(one))
                assert (packed[row, here] - alone).abs().max() < 1e-4
                assert start == 0 or (leaks[row, here] - alone).abs().max() > 1e-2, "the trap is no trap any more"
                start += len(one)


def test_flash_attention_gets_all_documents_in_one_row() -> None:
    """It is not to be had without a GPU, and knows documents apart in a batch of one row only."""
    seen: dict[str, Any] = {}

    class Decoder(torch.nn.Module):
        config = SimpleNamespace(_attn_implementation="flash_attention_2")

        def forward(self, **kwargs: Any) -> Any:
            seen.update(kwargs)
            return SimpleNamespace(last_hidden_state=kwargs["input_ids"][..., None].float())

    batch = collate([examples(3, 4), examples(5)], 0)
    found = last_hidden(SimpleNamespace(model=Decoder()), batch)
    assert torch.equal(found[..., 0].long(), batch.ids)
    assert seen["input_ids"].shape == seen["position_ids"].shape == (1, 14)
    assert seen["use_cache"] is False


def test_the_loss_within_a_model_is_that_of_its_logits(folder: Path) -> None:
    model, some = loaded(folder), examples(17, 23, 5)
    batch = collate([some[:2], some[2:]], pad_id=0)
    fitted = LossModel(model, CrossEntropy(chunk=7))
    counts = fitted.counts(batch)
    found = fitted(batch, counts)
    found.total.backward()
    got = {name: one.grad.clone() for name, one in model.named_parameters()}
    model.zero_grad()
    logits = [model(torch.tensor([one.ids])).logits[0] for one in some]
    wanted = [torch.tensor(one.targets) for one in some]
    right = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(wanted))
    right.backward()
    torch.testing.assert_close(found.total, right)
    assert counts["tokens"] == batch.tokens
    for name, one in model.named_parameters():
        torch.testing.assert_close(got[name], one.grad, rtol=1e-3, atol=1e-6)


def test_a_model_that_learned_to_score_still_does_what_it_did(folder: Path) -> None:
    peft = pytest.importorskip("peft")
    model = loaded(folder)
    wrapped = scoring(peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear", r=2)), chunk=3)
    assert backbone(wrapped) is model.model
    assert head_weight(wrapped) is model.lm_head.weight
    batch = collate([examples(9, 6)], 0)
    logprobs, entropy = wrapped(**batch.attention, targets=batch.targets, temperature=0.8)
    plain = wrapped(**batch.attention).logits
    assert "logits_to_keep" in signature(model.forward).parameters, "generation asks for the last logits only"
    hidden, wanted = compact(last_hidden(model, batch), batch.targets)
    right, _ = token_logprobs(hidden, model.lm_head.weight, wanted, temperature=0.8)
    carries = batch.targets != IGNORED
    torch.testing.assert_close(logprobs[carries], right)
    assert logprobs[~carries].abs().sum() == entropy[~carries].abs().sum() == 0
    chosen = (plain / 0.8).log_softmax(-1)[carries].gather(-1, wanted[:, None])[:, 0]
    torch.testing.assert_close(right, chosen)
    right.sum().backward()
    assert model.lm_head.weight.grad is None


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings")
def test_a_model_without_a_plain_head_is_refused(folder: Path) -> None:
    peft = pytest.importorskip("peft")
    model = loaded(folder)
    with pytest.raises(UserError, match="LlamaModel has no decoder"):
        backbone(model.model)
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["lm_head"], r=2))
    with pytest.raises(UserError, match="has no plain LM head"):
        head_of(adapted)


def test_a_batch_goes_to_a_device_whole() -> None:
    moved = collate([examples(4)], 0).to("meta")
    assert {getattr(moved, name).device.type for name in Batch.__slots__} == {"meta"}
