from __future__ import annotations

from typing import Any

import pytest

from tests.tiny import NEEDS_TORCH

pytestmark = [NEEDS_TORCH, pytest.mark.xdist_group("heavy")]


def given() -> Any:
    """Two replies to one prompt, one to another, of several lengths."""
    import torch

    from training.layouts import Given

    torch.manual_seed(3)
    ids = torch.randint(5, 60, (3, 11))
    mask = torch.ones_like(ids)
    ids[2, :5] = ids[0, :5]
    mask[0, 0] = mask[2, 0] = mask[1, :3] = 0
    mask[2, 8:] = mask[1, 10:] = 0
    return Given(ids, mask, 6)


def own() -> Any:
    import torch

    found = torch.ones(3, 6, dtype=torch.long)
    found[0, 2] = found[2, 0] = 0
    return found


def scored(rows: Any, model: Any) -> Any:
    values, _ = model(**rows.attention(), targets=rows.targets(own()))
    return rows.completions(values)


def test_a_prompt_that_is_read_once_gives_the_same_values_and_gradients():
    import torch

    from tests.training.tiny_llama import tiny_llama
    from training.head import scoring
    from training.layouts import Aligned, Shared, laid_out

    model, rows = scoring(tiny_llama(), chunk=4), given()
    shared = laid_out(rows, None, model.config)
    assert isinstance(shared, Shared)
    assert shared.ids.shape == (2, 3 + 7 + 4)  # of the prompt all but its last token, which begins each reply
    found, kept = [], []
    for layout in (shared, Aligned.of(rows)):
        model.zero_grad()
        values = scored(layout, model)
        (values * torch.arange(1.0, 7.0)).sum().backward()
        found.append(values.detach())
        kept.append({name: weight.grad.clone() for name, weight in model.named_parameters()})
    torch.testing.assert_close(*found)
    assert not found[0][0, 2]
    assert not found[0][2, 3:].any()
    for name, gradient in kept[0].items():
        torch.testing.assert_close(gradient, kept[1][name], atol=1e-5, rtol=1e-4, msg=name)


def test_what_cannot_share_a_prompt_is_read_row_by_row():
    import torch

    from tests.training.tiny_llama import tiny_llama
    from training.layouts import Aligned, Given, laid_out

    config, rows = tiny_llama().config, given()
    turns = torch.zeros(3, 6, dtype=torch.long)
    assert not isinstance(laid_out(rows, turns, config), Aligned)
    turns[1, 3:] = 1
    assert isinstance(laid_out(rows, turns, config), Aligned)
    assert isinstance(laid_out(Given(rows.ids[:2], rows.mask[:2], 6), None, config), Aligned)
    config._attn_implementation = "eager"
    assert isinstance(laid_out(rows, None, config), Aligned)


def test_rows_that_were_shuffled_stand_in_order_again():
    import torch

    from training.layouts import ORDER, in_order

    order = torch.tensor([2, 0, 3, 1])
    batches = [
        {ORDER: part, "ids": part[:, None] * 10, "count": torch.tensor(4), "name": "x"} for part in order.split(2)
    ]
    first, second = in_order(batches)
    assert first["ids"].tolist() == [[0], [10]]
    assert second["ids"].tolist() == [[20], [30]]
    assert (second["count"].item(), first["name"]) == (4, "x")
