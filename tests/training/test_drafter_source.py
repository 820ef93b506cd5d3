"""What the drafter's benchmark holds out, and what it counts."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from benchmarks import drafted, drafter_source


def test_a_copy_is_known_by_its_windows_and_other_text_is_not():
    random = np.random.default_rng(5)
    rest, other = (random.integers(0, 49_152, 900).astype(np.uint16) for _ in range(2))
    known = np.unique(drafter_source._windows(rest))
    assert drafter_source._known(drafter_source._windows(rest[300:600]), known) == 1.0
    assert drafter_source._known(drafter_source._windows(other), known) == 0.0
    half = drafter_source._known(drafter_source._windows(np.concatenate([other[:200], rest[:200]])), known)
    assert 0.4 < half < drafter_source.SHARED + 0.5


def test_about_one_package_in_sixteen_is_held_out():
    held = sum(drafter_source.held_out(f"package{number}") for number in range(2_000))
    assert 0.04 < held / 2_000 < 0.09


def test_acceptance_is_of_all_drafts_at_each_place():
    plain = {"texts": [[1, 2], [3, 4]], "tokens_a_second": 5.0}
    found = drafted.compared(plain, {**plain, "texts": [[1, 2], [3, 5]], "drafts": 8, "accepted": [6, 4, 1]})
    assert found["accepted_by_position"] == [0.75, 0.5, 0.125]
    assert found["same_texts"] == "1 of 2"
    assert found["tokens_a_step"] == 2.375
