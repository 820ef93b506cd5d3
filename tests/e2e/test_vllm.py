"""What the benchmark of the prefix cache counts; `test_serve.py` runs it on a real vLLM."""

from __future__ import annotations

from benchmarks.prefix import possible


def test_what_could_be_hit_is_the_longest_prefix_that_an_earlier_prompt_shares():
    assert possible([[1, 2, 3]]) == 0
    assert possible([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3, 9]]) == 2 + 3
    assert possible([[1, 2, 3], [1, 2, 3]]) == 2, "the last token is always computed"
