"""What an export is, and the two commands that show it at work: one that serves it, one that asks it something."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PORT = 8000
QUESTION = "What does len([1, 2]) give in Python?"
_KEY = '"Authorization: Bearer $(kat serve key)"'


@dataclass(frozen=True, slots=True)
class Exported:
    """One form of what was trained: where it lies, how it is served and asked, and what was measured of it."""

    form: str
    path: Path
    serve: str
    smoke: str
    figures: Mapping[str, float] = field(default_factory=dict)
    said: str = ""
    name: str = ""
    """By which `kat` is told to use it on its server; empty: `smoke` says how."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the report."""
        head = f"{self.form}: {self.path}" + (f" ({self.said})" if self.said else "")
        use = f"  use:   kat --engine http://127.0.0.1:{PORT} --model {self.name}"
        return (head, f"  serve: {self.serve}", f"  ask:   {self.smoke}", *([use] if self.name else []))


def name_of(recipe: str) -> str:
    """A recipe's name as servers take the name of an adapter."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", recipe).strip("-._")[:48] or "trained"


def served(model: str, *more: str, runner: str = "vllm", behind: tuple[str, ...] = ()) -> str:
    """The `kat serve` command for a model, on a port of this machine; `behind` are the runner's own options."""
    words = ["kat", "serve", model, "--runner", runner, "--host", "127.0.0.1", "--port", str(PORT), *more]
    return shlex.join([*words, "--", *behind] if behind else words)


def asked(model: str, dialect: str = "kat") -> str:
    """A request to a server that runs, by curl; `model` is the name by which it is served."""
    text = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n" + (
        "<judge>\n" if dialect == "kat" else ""
    )
    body = {"model": model, "prompt": text, "max_tokens": 200, "temperature": 0, "stop": ["<|im_end|>"]}
    url, kind = f"http://127.0.0.1:{PORT}/v1/completions", shlex.quote("Content-Type: application/json")
    return f"curl -s {url} -H {_KEY} -H {kind} -d {shlex.quote(json.dumps(body))}"
