"""A run that is killed in its middle goes on as if it had not been."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import NEEDS_TORCH

pytestmark = [NEEDS_TORCH, pytest.mark.xdist_group("heavy")]
ROOT = Path(__file__).resolve().parents[2]


def test_after_kill_9_the_same_bits_follow(tmp_path: Path):
    import torch
    from safetensors.torch import load_file

    from tests.training import cold_starts
    from training.coldstart import run

    torch.set_num_threads(1)
    base = cold_starts.prepared(tmp_path)
    words = [sys.executable, "-m", "tests.training.cold_starts", str(base), "killed", "5"]
    died = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()

    killed, whole = cold_starts.job(base, "killed"), cold_starts.job(base, "whole")
    assert [row["step"] for row in _rows(killed)] == [1, 2, 3, 4, 5], "updates 4 and 5 were done, and not saved"
    with (killed.folder.metrics).open("ab") as cut:
        cut.write(b'{"stage": "coldstart", "st')
    random = torch.get_rng_state()
    first, second = run(whole), run(killed)
    torch.set_rng_state(random)

    assert first.finished
    assert second.finished
    assert _figures(killed) == _figures(whole)
    assert [row["step"] for row in _rows(killed)] == list(range(1, cold_starts.STEPS + 1))
    one, two = (load_file(each.weights / "adapter_model.safetensors") for each in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(tensor.abs().max() > 0 for name, tensor in one.items() if "lora_B" in name)
    assert "going on behind update 3" in killed.folder.log.read_text()


def _figures(job: Any) -> list[dict[str, float]]:
    """All but what a clock says."""
    return [{name: value for name, value in row.items() if name not in _CLOCK} for row in _rows(job)]


def _rows(job: Any) -> list[dict[str, Any]]:
    from training.runtime.folder import rows

    return list(rows(job.folder.metrics))


_CLOCK = ("seconds", "tokens_per_second")
