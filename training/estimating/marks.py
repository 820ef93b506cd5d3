"""What others measured at scale, to be printed beside an estimate: a figure far from these is wrong, or a find."""

from __future__ import annotations

from dataclasses import dataclass

from training.settings import StageName


@dataclass(frozen=True, slots=True)
class Mark:
    """Tokens a second of one GPU, from the slowest to the fastest setting that was published."""

    program: str
    what: str
    least: int
    most: int
    stages: tuple[StageName, ...]

    @property
    def line(self) -> str:
        """As in a report."""
        return f"{self.program}, {self.what}: {self.least:,} to {self.most:,} tokens/s on each GPU"


MARKS = (
    Mark("torchtitan", "8 B on H100s, FSDP2", 5_762, 8_532, ("distill", "coldstart")),
    Mark("NeMo-RL", "GRPO of 30 B with 3 B active on H100s", 1_102, 1_414, ("rl",)),
)
"""torchtitan's benchmarks (33 to 39 % of the H100's peak) and NeMo-RL's performance pages, as both publish them."""
