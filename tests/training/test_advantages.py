from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.advantages import (
    ADVANTAGES,
    OFF,
    ON,
    UNKNOWN,
    Groups,
    Rules,
    advantages,
    balance,
    balanced,
    by_token,
    centred,
    normalised,
)
from training.examples import Place
from training.rewards import judged, right_modes, shorter

RULES = Rules(progress=0.3)


@st.composite
def groups(draw: st.DrawFn) -> Groups:
    """One to three groups of two to eight rollouts, of any modes, some of unknown outcome."""
    shape = draw(st.integers(1, 3)), draw(st.integers(2, 8))
    count = shape[0] * shape[1]

    def column(values: st.SearchStrategy[float]) -> torch.Tensor:
        return torch.tensor(draw(st.lists(values, min_size=count, max_size=count))).view(shape)

    accuracy = column(st.sampled_from([0.0, 1.0, 1.0, math.nan]))
    modes = column(st.sampled_from([ON, OFF, OFF, UNKNOWN])).long()
    form, lengths = column(st.sampled_from([0.0, 1.0])), column(st.sampled_from([3.0, 10.0, 40.0]))
    nobody = torch.full((shape[0],), UNKNOWN)
    judges = judged(modes, right_modes(accuracy, modes, nobody))
    return Groups(accuracy + 0.2 * form, accuracy, modes, lengths, judges, torch.zeros(shape, dtype=torch.bool))


def reordered(known: Groups, order: torch.Tensor) -> Groups:
    names = ("rewards", "accuracy", "modes", "lengths", "judges", "forced")
    return Groups(*(getattr(known, name)[:, order] for name in names))


@settings(max_examples=40, deadline=None)
@given(groups(), st.randoms(use_true_random=False))
def test_each_formula_is_blind_to_the_order_and_never_without_a_number(known, random):
    order = list(range(known.rewards.shape[1]))
    random.shuffle(order)
    for name in ADVANTAGES:
        found = advantages(name, known, RULES)
        moved = advantages(name, reordered(known, torch.tensor(order)), RULES)
        for one, other in ((found.judge, moved.judge), (found.answer, moved.answer)):
            assert torch.isfinite(one).all()
            assert torch.allclose(one[:, order], other, atol=2e-3), name


@settings(max_examples=30, deadline=None)
@given(groups(), st.floats(2, 50), st.floats(-3, 3))
def test_what_is_normalised_does_not_see_scale_and_shift(known, scale, shift):
    known = Groups.of(known.accuracy, modes=known.modes)
    moved = Groups.of(known.rewards * scale + shift, modes=known.modes)
    for name in ("grpo", "step_srpo"):
        one, other = advantages(name, known), advantages(name, moved)
        assert torch.allclose(one.answer, other.answer, atol=2e-3), name


def test_step_srpo_of_one_segment_is_grpo_bit_for_bit():
    torch.manual_seed(0)
    one = Groups.of(torch.rand(64, 8))
    assert torch.equal(advantages("step_srpo", one).answer, advantages("grpo", one).answer)


def test_groups_without_spread_and_of_a_single_mode_teach_nothing_of_what_they_do_not_tell():
    flat = Groups.of(torch.full((1, 6), 1.2), modes=torch.tensor([[ON, OFF, ON, OFF, ON, OFF]]))
    for name in ("grpo", "step_srpo", "arm"):
        found = advantages(name, flat)
        assert not found.answer.any(), name
        assert name == "arm" or not found.judge.any(), name
    alone = Groups.of(torch.tensor([[1.0, 0.0, 1.0, 0.0]]), modes=torch.full((1, 4), ON))
    assert bool(alone.single.all())
    hipo = advantages("hipo", alone)
    assert torch.allclose(hipo.judge, 0.3 * normalised(alone.rewards))  # only the second term
    lone = Groups.of(torch.tensor([[1.0, 0.0, 0.0]]), modes=torch.tensor([[ON, OFF, OFF]]))
    assert not advantages("step_srpo", lone).answer.any()


def test_judges_of_the_rarer_right_mode_weigh_more_so_that_both_teach_as_much():
    modes = torch.tensor([[ON, OFF, ON, OFF]] * 5)
    right = torch.tensor([ON, OFF, OFF, OFF, UNKNOWN])
    known = Groups.of(torch.ones(5, 4), modes=modes, judges=judged(modes, right))
    assert balanced(known, RULES).squeeze(-1).tolist() == pytest.approx([2.0, 2 / 3, 2 / 3, 2 / 3, 1.0])
    assert balanced(known, Rules(most=1.5))[0].item() == 1.5
    pushed = advantages("step_srpo", known).judge.abs().sum(-1)
    assert pushed[0].item() == pytest.approx(pushed[1:4].sum().item(), rel=1e-4)
    assert not pushed[4]
    alike = judged(modes, torch.tensor([OFF, OFF, UNKNOWN, OFF, OFF]))
    assert balanced(Groups.of(torch.ones(5, 4), modes=modes, judges=alike), RULES).tolist() == [[1.0]] * 5


def test_hipo_is_its_formula_and_protects_the_short_mode():
    rewards = torch.tensor([[1.2, 0.2, 1.2, 1.0, 0.2, 0.0]])
    modes = torch.tensor([[ON, ON, ON, OFF, OFF, OFF]])
    on, off, everyone = 2.6 / 3, 1.2 / 3, 3.8 / 6
    found = advantages("hipo", Groups.of(rewards, modes=modes))
    spread = rewards.std().item()
    assert found.judge[0, 0].item() == pytest.approx(on - everyone + 0.3 * (1.2 - everyone) / spread, abs=1e-3)
    assert found.answer[0, 3].item() == pytest.approx((1.0 - off) / rewards[0, 3:].std().item(), abs=1e-2)
    even = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    lifted = advantages("hipo", Groups.of(even, modes=torch.tensor([[ON, ON, OFF, OFF]])))
    assert lifted.judge[0, 2].item() - lifted.judge[0, 0].item() == pytest.approx(0.01 * 0.5, abs=1e-6)
    assert lifted.answer[0, 2].item() == pytest.approx((1 - 0.505) / even[0, 2:].std().item(), abs=1e-3)


def test_rewards_of_the_relatives_are_as_published():
    accuracy = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    known = Groups.of(accuracy, modes=torch.tensor([[ON, OFF, ON, OFF]]), lengths=torch.full((1, 4), 10.0))
    assert advantages("thinkless", known).answer.tolist() == centred(torch.tensor([[0.5, 1.0, -1.0, -1.0]])).tolist()
    assert advantages("thinkless", known).judge[0, 1].item() == pytest.approx(1e-3 * 10 * 1.125)
    assert advantages("adaptthink", known).answer.tolist() == [pytest.approx([0.5, 0.55, -0.5, -0.45])]
    auto = normalised(torch.tensor([[1.0, 2.0, 0.0, -1.0]]))
    assert torch.allclose(advantages("autothink", known).answer, auto)
    rare = Groups.of(torch.ones(1, 4), modes=torch.tensor([[ON, OFF, OFF, OFF]]))
    early, late = advantages("arm", rare), advantages("arm", rare, Rules(progress=1.0))
    assert early.answer[0, 0] > early.answer[0, 1]
    assert not late.answer.any()


def test_a_rounded_mean_makes_no_advantage_of_equal_rewards():
    for on in range(2, 7):
        modes = torch.tensor([[ON] * on + [OFF] * (8 - on)])
        found = advantages("hipo", Groups.of(torch.full((1, 8), 1.2), modes=modes))
        assert not found.answer.any()
        assert found.judge.abs().max() < 0.02  # the raised mean of the short mode is all there is


def test_who_chose_no_mode_is_wrong_where_the_paper_has_no_such_reply():
    known = Groups.of(torch.tensor([[1.0, 1.0, 1.0, 0.0]]), modes=torch.tensor([[ON, OFF, UNKNOWN, UNKNOWN]]))
    assert advantages("thinkless", known).answer.tolist() == centred(torch.tensor([[0.5, 1.0, -1.0, -1.0]])).tolist()
    assert torch.allclose(advantages("autothink", known).answer, normalised(torch.tensor([[1.0, 2.0, -1.0, -1.0]])))


def test_the_judge_holds_its_share_and_padding_changes_nothing():
    places = torch.tensor([[1, 1, 2, 3, 3, 3], [1, 3, 3, 3, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]])
    judge = (places == Place.JUDGE) & mask.bool()
    weights = balance(int(judge.sum()), int(mask.sum()), 0.4)
    held = torch.where(places == Place.JUDGE, *weights) * mask
    assert held.sum().item() == pytest.approx(mask.sum().item())
    assert held[judge].sum().item() == pytest.approx(0.4 * mask.sum().item())
    assert balance(0, 5, 0.4) == balance(5, 5, 0.4) == balance(2, 5, 0.0) == (1.0, 1.0)
    found = advantages("step_srpo", Groups.of(torch.tensor([[1.0, 0.0]]), modes=torch.tensor([[ON, ON]])))
    tokens = by_token(found, places, weights)
    assert torch.equal(tokens[:, :3], by_token(found, places[:, :3], weights))
    assert torch.equal(tokens[1] * mask[1], -tokens[0, [0, 2, 2, 2, 2, 0]] * mask[1])


def test_the_right_mode_is_what_the_user_wants_else_what_the_evidence_says():
    modes = torch.tensor([[ON, ON, OFF, OFF]]).repeat(5, 1)
    modes[4] = ON
    accuracy = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    wishes = torch.tensor([UNKNOWN, UNKNOWN, UNKNOWN, OFF, UNKNOWN])
    right = right_modes(accuracy, modes, wishes)
    assert right.tolist() == [ON, OFF, UNKNOWN, OFF, UNKNOWN]
    earned = judged(modes, right)
    assert earned[0].tolist() == [1, 1, -1, -1]  # not thinking where it was needed costs
    assert earned[1].tolist() == [0, 0, 1, 1]
    assert earned[2].isnan().all()
    assert shorter(torch.tensor([[10.0, 20.0, 30.0]]), torch.tensor([[1.0, 1.0, 0.0]])).tolist() == [[0.5, 0.0, -0.5]]
