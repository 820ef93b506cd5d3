"""Updates of this project and of TRL, turn by turn on the same work: tokens a CPU second and memory, on one thread.

    python benchmarks/train.py [--weights FOLDER] [--dtype bfloat16] [--cases grpo,sft,rl] [--json FILE]
    python benchmarks/train.py --device cuda [--cases …]

The model is SmolLM2-135M in bf16; a CPU without instructions for that is some sixty times slower with it than with
fp32, which `--dtype float32` takes on both sides. Each side is a process of its own, so that its memory is its own;
both are ready before the first update, then each makes one in its turn, so that whatever else the machine does hits
both alike. The first of each kind is not counted. Seconds are medians, speeds of all together. TRL is used in the best
form it documents for a CPU: packed rows, or padded batches beside it, no gradient checkpointing on either side.

On a GPU (`benchmarks/train_gpu.py`) this project is measured alone, beside what others published.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import machine

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: a case of `train_sides`, its shape, who takes part, and how many times TRL's speed, at what
    share of its memory, is wanted."""

    case: str
    title: str
    shape: str = "-"
    sides: tuple[str, ...] = ("ours", "trl")
    wanted: float = 2.0
    memory: float = 0.0


CASES = (
    Case("grpo", "GRPO, 2 × (960 + 64)", memory=0.7),
    Case("sft", "SFT, 40 % of tokens in the loss", "chat", ("ours", "trl", "padded"), 1.4),
    Case("sft", "SFT, nearly all in the loss", "all", wanted=1.4),
    Case("rl", "whole RL step, 8 replies of 64"),
)
NAMES = {"ours": "ours", "trl": "TRL", "padded": "TRL, padded"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table, of one kind of update of one side. `seconds` are of CPU, the median."""

    case: str
    what: str
    side: str
    seconds: float
    speed: float
    graded: float
    peak: float
    loss: float
    updates: int


class Player:
    """A side: a process that makes an update when told to."""

    def __init__(self, case: Case, who: str, model: tuple[str, str], folder: Path) -> None:
        what = (case.case, who, case.shape, *model, str(folder / who))
        command = [sys.executable, str(HERE / "train_sides.py"), *what]
        self.who, self.updates = who, list[dict[str, Any]]()
        self._log = (folder / f"{who}.log").open("w+")
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(HERE.parent),
        }  # fmt: skip
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment
        )

    def ready(self) -> bool:
        """Wait until it is; False when it has made all its updates.

        Raises:
            RuntimeError: it broke off.
        """
        assert self._process.stdout
        if self._process.stdout.readline():
            return True
        if self._process.wait():
            self._log.seek(0)
            raise RuntimeError(f"{self.who} broke off: {self._log.read()[-2_000:]}")
        return False

    def update(self) -> None:
        """Let it make one."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        told = self._process.stdout.readline()
        if not told:
            self.ready()
        update = json.loads(told)
        print(f"{update['what']}, {NAMES[self.who]}: {update['cpu']:.2f} CPU s", file=sys.stderr, flush=True)
        self.updates.append(update)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._log.close()


def played(case: Case, model: tuple[str, str]) -> list[Line]:
    """All updates of a case, each side in its turn; the model is its weights and their dtype."""
    with tempfile.TemporaryDirectory() as folder:
        players = [Player(case, who, model, Path(folder)) for who in case.sides]
        try:
            going = [player for player in players if player.ready()]
            while going:
                for player in going:
                    player.update()
                going = [player for player in going if player.ready()]
            return [line for player in players for line in lines(case, player)]
        finally:
            for player in players:
                player.close()


def lines(case: Case, player: Player) -> Iterator[Line]:
    """The figures of each kind of update; the first is left out, but for the loss."""
    for what in dict.fromkeys(update["what"] for update in player.updates):
        every = [update for update in player.updates if update["what"] == what]
        some = every[1:] or every
        if case.case == "rl" and every[0] is player.updates[0]:
            continue
        yield Line(
            case.title,
            what,
            player.who,
            statistics.median(one["cpu"] for one in some),
            sum(one["tokens"] for one in some) / sum(one["cpu"] for one in some),
            sum(one["graded"] for one in some) / sum(one["cpu"] for one in some),
            max(one["peak"] for one in some),
            sum(one["loss"] * one["graded"] for one in every) / sum(one["graded"] for one in every),
            len(some),
        )


def table(found: Sequence[Line]) -> Iterator[str]:
    """Markdown: each line beside TRL's of its kind."""
    yield "| update | side | CPU s | tokens/CPU s | in the loss/CPU s | peak MiB | loss | × TRL | memory of TRL's |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in found:
        theirs = _theirs(one, found)
        times = f"{one.speed / theirs.speed:.2f}" if theirs else ""
        memory = f"{one.peak / theirs.peak:.0%}" if theirs else ""
        loss = f"{one.loss:.4f}" if one.loss else ""
        yield (
            f"| {one.case}: {one.what} | {NAMES[one.side]} | {one.seconds:.2f} | {one.speed:.0f} | {one.graded:.0f} "
            f"| {one.peak:.0f} | {loss} | {times} | {memory} |"
        )


def _theirs(one: Line, found: Sequence[Line]) -> Line | None:
    """TRL's line of the same kind; masters in fp32 are beside its AdamW in bf16, the only one it has."""
    if one.side != "ours":
        return None
    kind = one.what.removesuffix(" on fp32 masters")
    same = [each for each in found if (each.case, each.side) == (one.case, "trl")]
    return next((each for each in same if each.what in (one.what, kind)), None)


def said(case: Case, found: Sequence[Line]) -> Iterator[str]:
    """What has come out of a case, beside what was wanted."""
    pairs = [(one, _theirs(one, found)) for one in found if one.case == case.title]
    times = [one.speed / theirs.speed for one, theirs in pairs if theirs]
    memory = [one.peak / theirs.peak for one, theirs in pairs if theirs]
    wanted = f"wanted {case.wanted}" + (f" and at most {case.memory:.0%}" if case.memory else "")
    yield (
        f"{case.title}: {min(times):.2f} to {max(times):.2f} × TRL's tokens a CPU second, "
        f"{min(memory):.0%} to {max(memory):.0%} of its peak memory ({wanted})"
    )
    by_kind = {one.what: 1 / one.graded for one in found if one.case == case.title and one.side == "ours"}
    if "advantages, step_srpo" in by_kind:
        more = (by_kind["advantages, step_srpo"] - by_kind["advantages, grpo"]) / by_kind["update"]
        yield f"advantages by segment add {more:.5%} to GRPO's update (wanted: under 1 %)"


def main() -> None:
    """Measure what was asked for, and print the table."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--weights", default="nano", help="a folder, or a name of the catalogue")
    asked.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    asked.add_argument("--cases", default="grpo,sft,rl")
    asked.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked.add_argument("--json", type=Path)
    options = asked.parse_args()
    (_on_gpu if options.device == "cuda" else _on_cpu)(options)


def _on_cpu(options: argparse.Namespace) -> None:
    chosen = [case for case in CASES if case.case in options.cases.split(",")]
    found: list[Line] = []
    for case in chosen:
        found += played(case, (options.weights, options.dtype))
        for line in said(case, found):
            print(line, file=sys.stderr, flush=True)
    print(f"{machine()}; {options.dtype}, one thread, each in its turn\n")
    _print(table(found), options.json, [asdict(one) for one in found])


def _on_gpu(options: argparse.Namespace) -> None:
    import train_gpu

    found = train_gpu.measured(options.weights, options.cases.split(","))
    print(train_gpu.about() + "\n")
    _print(train_gpu.table(found), options.json, [asdict(one) for one in found])


def _print(rows: Iterator[str], file: Path | None, figures: list[dict[str, Any]]) -> None:
    printed: Callable[[str], None] = print
    for row in rows:
        printed(row)
    if file:
        file.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
