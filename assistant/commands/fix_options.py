"""The options of `kat fix`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Test = Annotated[str | None, typer.Option("--test", metavar="COMMAND", help="how the tests run")]
Issue = Annotated[str | None, typer.Option("--issue", metavar="TEXT", help="what is wrong, in words")]
IssueFile = Annotated[Path | None, typer.Option("--issue-file", metavar="FILE", help="the same, from a file")]
Candidates = Annotated[int | None, typer.Option("--candidates", min=1, help="attempts that the agent has")]
Samples = Annotated[int | None, typer.Option("--samples", min=1, help="single lines drawn from a small model")]
Strategy = Annotated[
    Literal["line", "agent"] | None, typer.Option("--strategy", help="line: only single lines; agent: none; else both")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="makes what is drawn repeatable")]
BudgetTokens = Annotated[int | None, typer.Option("--budget-tokens", min=1, help="tokens the model may write in all")]
TestTimeout = Annotated[float | None, typer.Option("--test-timeout", min=0.1, help="seconds a test run may take")]
Timeout = Annotated[float, typer.Option("--timeout", help="seconds after which no attempt is begun")]
AllowTestEdits = Annotated[bool, typer.Option("--allow-test-edits", help="tests may be changed")]
Apply = Annotated[bool, typer.Option("--apply", help="put the patch into the files")]
Branch = Annotated[str | None, typer.Option("--branch", metavar="NAME", help="commit the patch on a new branch")]
Patch = Annotated[Path | None, typer.Option("--patch", metavar="FILE", help="write the patch to a file")]
Report = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="write the story of it, in Markdown")]
ShowSuspects = Annotated[bool, typer.Option("--show-suspects", help="say where the fault may lie")]
Ci = Annotated[bool, typer.Option("--ci", help="annotations and outputs for continuous integration")]
Tasks = Annotated[Path | None, typer.Option("--tasks", metavar="DIR", help="fix all tasks of a directory instead")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="tasks at a time")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="where the outcome of each task is kept")]
Again = Annotated[bool, typer.Option("--again", help="run tasks whose outcome is kept, too")]
Instance = Annotated[
    Path | None, typer.Option("--instance", metavar="FILE", help="one instance in SWE-bench's form, for --repo")
]
Predictions = Annotated[
    Path | None, typer.Option("--predictions", metavar="FILE", help="add the patch in SWE-bench's form")
]
