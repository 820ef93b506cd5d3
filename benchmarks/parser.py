"""How fast replies are read in pieces of 20 characters, by length and kind of reply, beside reading them whole.

The yardstick is `str.partition` over the same pieces joined: what a reader that waits for the end would do.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

from model.format import ReplyParser

PIECE = 20
ROUNDS = 5
PROSE = "The loop runs while low < high, so `mid` never reaches the end of the list.\n"
MARKUP = "a <b> c </d> <think <answe `</answer>` x < y << z </tool\n"


def thinking(size: int) -> str:
    """A long thought in prose."""
    return f"w\n</judge>\n\n<think_on>\n<think>\n{PROSE * (size // len(PROSE))}\n</think>\n\n<answer>\na\n</answer>"


def angles(size: int) -> str:
    """A long answer full of things that are almost tags."""
    return f"w\n</judge>\n\n<think_off>\n<answer>\n{MARKUP * (size // len(MARKUP))}\n</answer>"


def call(size: int) -> str:
    """A long file in a tool call."""
    body = json.dumps({"name": "write_file", "arguments": {"path": "a.py", "content": PROSE * (size // len(PROSE))}})
    return f"w\n</judge>\n\n<think_off>\n<answer>\n\n</answer>\n<tool_call>\n{body}\n</tool_call>"


def seconds(pieces: list[str]) -> float:
    """The fastest of some rounds of feeding all pieces."""
    best = float("inf")
    for _ in range(ROUNDS):
        parser = ReplyParser()
        start = time.perf_counter()
        for piece in pieces:
            parser.feed(piece)
        parser.close()
        best = min(best, time.perf_counter() - start)
    return best


def partitioned(pieces: list[str]) -> float:
    """The same text, joined at the end and cut at its tags."""
    start = time.perf_counter()
    "".join(pieces).partition("</judge>")[2].partition("<answer>")[2].partition("</answer>")
    return time.perf_counter() - start


def main() -> None:
    """Measure and print a table."""
    print(f"MB a second in pieces of {PIECE} characters, best of {ROUNDS}, {machine()}")
    print(f"{'reply':10}{'0.1 MB':>10}{'1 MB':>10}{'4 MB':>10}{'joined at the end':>20}")
    for make in (thinking, angles, call):
        rates = []
        for size in (100_000, 1_000_000, 4_000_000):
            text = make(size)
            pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
            rates.append(len(text.encode()) / 1e6 / seconds(pieces))
        joined = len(text.encode()) / 1e6 / partitioned(pieces)
        print(f"{make.__name__:10}" + "".join(f"{rate:10.2f}" for rate in rates) + f"{joined:20.0f}")


if __name__ == "__main__":
    main()
