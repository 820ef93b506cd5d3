"""Options that the commands on data share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

From = Annotated[
    list[str],
    typer.Option("--from", metavar="DIR", help="what a stage wrote, a file of records, or a source; repeatable"),
]
Out = Annotated[str, typer.Option("--out", metavar="DIR", help="where records and report go")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="the same seed gives the same records")]
Jobs = Annotated[
    int, typer.Option("--jobs", min=0, help="processes (0: this one alone), or questions to a model at a time")
]
Runner = Annotated[Literal["local", "ray"], typer.Option("--engine", help="this machine, or Ray over many")]
Most = Annotated[int | None, typer.Option("--most", min=1, metavar="N", help="write so many records at most")]
Shape = Annotated[Literal["parquet", "jsonl"], typer.Option("--format", help="how records are written")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="set an option; repeatable, values as in TOML")
]
Teacher = Annotated[
    str | None,
    typer.Option("--teacher", metavar="ENGINE", help="the model that is asked: embedded, http://host:port[/v1], ..."),
]
TeacherName = Annotated[str | None, typer.Option("--model", help="the model's name on a server that has several")]
Place = Annotated[str, typer.Argument(metavar="DIR", help="a folder of samples, or a file")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs")]
