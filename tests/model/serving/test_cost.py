"""Speed and cost: the formula's corners, and what must hold of any number of users."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.published import checks
from model.catalog import CATALOG
from model.serving.fitting import cost
from model.serving.fitting.report import reported
from model.serving.fitting.sizing import plan
from model.serving.hardware.devices import asked_machine
from model.serving.plan import Gpu, Machine

PLAN = plan(CATALOG["KAT-V1-40B"], asked_machine("h100:1"))
MIXTURE = plan(CATALOG["KAT-Coder-V2.5-Dev"], asked_machine("h100:1"))


def test_one_user_waits_for_the_weights_to_be_read() -> None:
    step = cost.decode(PLAN, 1, 1)
    assert step.limit == "bandwidth"
    bytes_read = (39.007 + 2 * 0.7786) * 1e9
    assert step.each == pytest.approx(3_350e9 * cost.READ / bytes_read, rel=0.01)


def test_a_prompt_is_read_at_the_peak_of_fp8() -> None:
    assert PLAN.model.architecture
    peak = cost.FASTER_IN_FP8 * 989e12 * cost.MATH / (2 * PLAN.model.architecture.active)
    assert cost.prefill(PLAN, 1) == pytest.approx(peak, rel=0.01)
    assert cost.prefill(PLAN, 100_000) < cost.prefill(PLAN, 1_000) < peak


def test_weights_in_fp8_are_read_no_faster_by_gpus_without_it() -> None:
    old = replace(PLAN, machine=Machine((Gpu("X", 80.0, 3_350, 989),), "NVML"))
    assert cost.prefill(old, 1) == pytest.approx(cost.prefill(PLAN, 1) / cost.FASTER_IN_FP8)
    assert not any("in fp8)" in line for line in reported(old, 1, None, 20.0, None).lines)


def test_what_others_measured_is_met_within_a_quarter() -> None:
    errors = {check.what: check.error for check in checks()}
    assert len(errors) == 30
    assert max(map(abs, errors.values())) < 0.25
    assert max(abs(error) for what, error in errors.items() if "tokens in the cache" in what) < 0.05


@settings(max_examples=40)
@given(st.integers(1, 200), st.integers(1, 30_000))
def test_more_users_are_slower_each_and_faster_together(users: int, context: int) -> None:
    for made in (PLAN, MIXTURE):
        few, many = cost.decode(made, users, context), cost.decode(made, users + 1, context)
        assert many.each <= few.each
        assert many.all >= few.all * 0.999


@settings(max_examples=40)
@given(st.integers(100, 60_000), st.floats(1, 60))
def test_as_many_are_served_as_see_the_speed_and_have_room(context: int, least: float) -> None:
    found = cost.served(PLAN, context, least)
    assert found * context <= PLAN.kv_tokens
    assert found == 0 or cost.decode(PLAN, found, context).each >= least
    more = found + 1
    assert more * context > PLAN.kv_tokens or cost.decode(PLAN, more, context).each < least


def test_a_mixture_reads_the_experts_that_some_user_needs() -> None:
    shape = MIXTURE.model.architecture
    assert shape is not None
    alone, crowd = (cost.weights_read(shape, None, users) for users in (1, 2_000))
    assert 2 * 2.9e9 < alone < 2 * 3.5e9
    assert crowd == pytest.approx(2 * shape.parameters - 2 * shape.vocabulary * shape.hidden, rel=0.01)


def test_a_million_tokens_cost_what_the_hours_do() -> None:
    report = reported(PLAN, 8, 2.5, 20.0, None)
    assert report.together
    assert report.price
    hours = 1e6 / report.together.all / 3600
    assert report.price.written == pytest.approx(2.5 * hours)
    low, high = report.savings
    assert (low.tokens, high.money) == (pytest.approx(190_000), pytest.approx(0.4 * report.price.written))
    assert any(f"GB/s × {cost.READ:g}" in line for line in report.lines)
    assert "worth" in report.lines[-1]


def test_a_measured_saving_counts_instead_of_the_published_one() -> None:
    report = reported(PLAN, 1, None, 20.0, 0.25)
    assert [each.tokens for each in report.savings] == [250_000]
    assert "25 % fewer tokens (measured)" in report.lines[-1]
    assert report.as_json()["price"] is None


def test_unknown_gpus_have_no_speed_and_say_so() -> None:
    unknown = replace(PLAN, machine=Machine((Gpu("X", 80.0),), "NVML"))
    report = reported(unknown, 4, 1.0, 20.0, None)
    assert report.alone is None
    assert "not reckoned" in report.lines[0]
    assert report.as_json()["steps"] == {}
