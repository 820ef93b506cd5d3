"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.format import ThinkRequest

Engine = Annotated[
    str | None, typer.Option("--engine", metavar="ENGINE", help="embedded, http://host:port[/v1] or unix:/path")
]
Model = Annotated[str | None, typer.Option("--model", help="the model's name on a server that has several")]
DialectName = Annotated[str | None, typer.Option("--dialect", help="kat, qwen3 or qwen3_coder; else by the model")]
Adapter = Annotated[
    str | None, typer.Option("--adapter", metavar="PATH", help="a LoRA adapter for an engine in this process")
]
Think = Annotated[ThinkRequest | None, typer.Option("--think", help="auto, on or off")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="compact or full prompts; else by the engine")]
MaxSteps = Annotated[int | None, typer.Option("--max-steps", help="steps that one message may take")]
RunTokens = Annotated[int | None, typer.Option("--run-tokens", help="tokens that the model may write for one message")]
RunSeconds = Annotated[float | None, typer.Option("--run-seconds", help="seconds that one message may take")]
ThinkBudget = Annotated[int | None, typer.Option("--think-budget", help="tokens of one thought; it is cut there")]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="RULE",
        help="read, edit, command[:PATTERN], network, outside, mcp[:SERVER[/TOOL]] or all, without asking; repeatable",
    ),
]
Resume = Annotated[
    str | None, typer.Option("--resume", metavar="ID", help="go on with a session: the start of its id, or last")
]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs")]
Repository = Annotated[Path, typer.Option("--repo", metavar="DIR", help="the repository")]
HERE = Path()
