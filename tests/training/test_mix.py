"""The mix keeps its proportions, in any order of its input, and says what it could not reach; rows are packed full."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from model.format import Mode
from tests.training.records import HERE, sample
from training.data.apportion import shared, shared_within
from training.data.card import render
from training.data.flow.reporting import Report
from training.data.mix import Mix
from training.data.packing_plan import Length, lengths, plan, write
from training.data.schema import Difficulty, Provenance, Refused, Sample, Tags, Votes
from training.data.stage import Context

SHARES = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 5), min_size=1)


@given(st.integers(0, 1000), SHARES)
def test_shares_add_up_and_are_off_by_less_than_one(total: int, weights: dict[str, float]) -> None:
    found, whole = shared(total, weights), sum(weights.values())
    assert sum(found.values()) == (total if whole else 0)
    assert all(abs(found[key] - total * weight / whole) < 1 + 1e-6 for key, weight in weights.items() if whole)


@given(st.integers(0, 1000), SHARES, st.integers(0, 300))
def test_shares_within_limits_take_what_there_is(total: int, weights: dict[str, float], limit: int) -> None:
    limits = {key: limit + ord(key) for key in weights}
    found = shared_within(total, weights, limits)
    assert all(0 <= found[key] <= limits[key] for key in weights)
    assert sum(found.values()) == min(total, sum(limits[key] for key, weight in weights.items() if weight > 0))


CELLS = st.dictionaries(
    st.tuples(st.sampled_from(["line", "step", "trace"]), st.sampled_from(Mode)),
    st.tuples(st.integers(0, 200), st.integers(0, 200)).map(lambda pair: (max(pair), min(pair))),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(CELLS, st.integers(0, 600), st.sampled_from([{}, {"line": 3.0, "step": 1.0}]))
def test_a_plan_keeps_the_regimes_exactly_and_takes_no_more_than_there_is(
    cells: dict[tuple[str, Mode], tuple[int, int]], size: int, weights: dict[str, float]
) -> None:
    mix = Mix(size=size, weights=weights)
    made = mix.plan(cells)
    total = sum(made.take.values())
    off = sum(count for (_, mode), count in made.take.items() if mode is Mode.OFF)
    assert abs(off - 0.652 * total) < 1
    assert all(0 <= made.hard[c] <= min(made.take[c], cells[c][1]) and made.take[c] <= cells[c][0] for c in cells)
    assert all(not made.take[cell] for cell in cells if weights and cell[0] not in weights)
    usable = {
        mode: sum(n for (f, m), (n, _) in cells.items() if m is mode and weights.get(f, not weights)) for mode in Mode
    }
    possible = int(min(usable[Mode.OFF] / 0.652, usable[Mode.ON] / 0.348) + 1e-9)
    assert total == min(size, possible) if size else total <= possible
    assert not size or total == size or made.notes


def _many(count: int = 400) -> list[Sample]:
    kinds = product(("line", "step", "trace"), Mode, ("easy", "medium", "medium", "hard"), range(count // 24 + 1))
    return [
        sample(f"s-{n}", family=family, mode=mode, tags=Tags(difficulty=level), provenance=Provenance(f"p{n % 2}"))
        for n, (family, mode, level, _) in enumerate(kinds)
    ]


def _taken(mix: Mix, rows: list[Sample]) -> list[Sample]:
    return [each for each in mix(rows, HERE) if isinstance(each, Sample)]


def test_a_mix_is_the_same_in_any_order_and_another_with_another_seed() -> None:
    rows = [*_many(), sample("held-1", split="test"), sample("held-2", split="valid")]
    found = _taken(Mix(size=200), rows)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert found[:200] == _taken(Mix(size=200), shuffled)[:200]
    assert {one.id for one in found[:200]} != {one.id for one in _taken(Mix(size=200, seed=1), rows)[:200]}
    assert [one.id for one in found[200:]] == ["held-1", "held-2"]
    assert len({one.id for one in found}) == 202
    surplus = [each for each in Mix(size=200)(rows, HERE) if isinstance(each, Refused)]
    assert Counter(each.reason for each in surplus) == {"surplus": len(rows) - 202}


def test_hard_samples_and_heavy_sources_are_kept() -> None:
    rows = _many()
    few = [replace(row, tags=Tags(difficulty="easy")) if n % 30 else row for n, row in enumerate(rows)]
    hard = sum(row.tags.difficulty == "hard" for row in few)
    got = _taken(Mix(size=60), few)
    assert sum(row.tags.difficulty == "hard" for row in got) == min(6, hard)
    drawn = Counter(row.provenance.source for row in _taken(Mix(size=100, sources={"p1": 8}, hard=0), rows))
    assert drawn["p1"] > 2 * drawn["p0"] > 0
    assert {row.provenance.source for row in _taken(Mix(size=50, sources={"p0": 0}), rows)} == {"p1"}


def test_what_was_not_reached_is_said_and_nothing_is_repeated_unasked() -> None:
    told: list[str] = []
    rows = [sample(f"s-{n}", family="line", mode=mode) for n, mode in enumerate([Mode.OFF] * 100 + [Mode.ON] * 10)]
    context = Context(Path("/nonexistent"), watch=told.append)
    got = [each for each in Mix(size=100, weights={"line": 1, "step": 1})(rows, context) if isinstance(each, Sample)]
    assert len(got) == 28
    assert len(told) == 3
    assert "28 of 100 samples, as there are only 10 with thinking on" in told[0]
    again = _taken(Mix(size=100, repeat=4), rows)
    assert len(again) == len({one.id for one in again}) == 100
    assert Counter(one.provenance.parent or one.id for one in again).most_common(1)[0][1] == 4


@pytest.mark.parametrize("wrong", [Mix(off=2), Mix(size=-1), Mix(repeat=0), Mix(weights={"a": -1})])
def test_options_that_make_no_sense(wrong: Mix) -> None:
    with pytest.raises(UserError):
        next(wrong([], HERE), None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 120), max_size=60), st.randoms(use_true_random=False))
def test_rows_hold_each_sample_once_and_no_two_rows_would_fit_in_one(sizes: list[int], order: random.Random) -> None:
    rows = [Length(f"s-{n}", size) for n, size in enumerate(sizes)]
    packing = plan(rows, 100)
    tokens = dict(rows)
    assert sorted([*packing.long, *(name for row in packing.rows for name in row)]) == sorted(tokens)
    assert all(tokens[name] > 100 for name in packing.long)
    sums = sorted(sum(tokens[name] for name in row) for row in packing.rows)
    assert all(size <= 100 for size in sums)
    assert len(sums) < 2 or sums[0] + sums[1] > 100
    order.shuffle(rows)
    assert plan(rows, 100) == packing


def test_a_packing_plan_lies_beside_the_shards(tmp_path: Path) -> None:
    rows = [sample(f"s-{n}", "x" * 200 * n) for n in range(1, 20)]
    packing = plan(lengths(rows), 2048)
    write(packing, tmp_path)
    assert len((tmp_path / "packing.jsonl").read_text().splitlines()) == len(packing.rows) + 1
    assert len(packing.rows) == -(-packing.tokens // 2048)
    assert f"19 samples in {len(packing.rows)} rows of 2,048 tokens" in packing.said()


def test_a_card_says_what_the_data_are_and_nothing_of_when() -> None:
    level: Difficulty = "hard"
    made = Provenance("toolz", "sha256:0123456789abcdef", "2024-10-01")
    rows = [
        sample("s-1", family="trace", mode=Mode.ON, by="vote", votes=Votes(3, 4, 1, 4), provenance=made, licence="MIT"),
        sample("s-2", family="trace", tags=Tags(difficulty=level, measures={"scrubbed:email": 2}), provenance=made),
        sample("s-3", split="test"),
    ]
    reports = [
        Report("contamination", use="contamination", read=9, written=8, refused={"contaminated": 1}, seconds=1.5),
        Report(
            "scrub", read=8, written=3, refused={"secret": 5}, seconds=2.5, cost={"tokens": 1200}, notes=("mix: few",)
        ),
    ]
    card = render(rows, reports, name="nano", again="kat train data run nano-data")
    assert card == render(
        rows, [replace(report, seconds=9.0) for report in reports], name="nano", again="kat train data run nano-data"
    )
    for said in (
        "# Data card: nano", "3 samples of 2 families", "50.0% of the training split are without thinking",
        "| toolz | sha256:0123456789ab | 2024-10-01 | MIT | 1 |", "| trace | 2 | 66.7% | 1 | 1 | 50.0% |",
        "| votes on the very task | 0 | 1 |", "1 samples carry the votes", "email 2", "5 for secrets",
        "9 records were held against hash lists", "HumanEval, QuixBugs", "| scrub | 8 | 3 | 37.5% | tokens 1,200 |",
        "- mix: few", "| question | 0 | 0 | 1 |", "kat train data run nano-data",
    ):  # fmt: skip
        assert said in card
    assert "Nothing is known" in render([])
