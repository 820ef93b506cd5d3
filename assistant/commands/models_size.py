"""`kat models size`: whether a model fits, how fast it answers there, and what that costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.commands.options import Json
from assistant.config import load
from assistant.errors import Exit, UserError
from assistant.own_models import entry_named

if TYPE_CHECKING:
    from model.serving.fitting.report import Report
    from model.serving.plan import DoesNotFit, Machine, Plan

Gpus = Annotated[
    str | None, typer.Option("--gpu", metavar="TYPE:N", help="as h100:2, l40s, none; else what this machine has")
]
Users = Annotated[int, typer.Option("--users", help="conversations at once")]
Context = Annotated[int | None, typer.Option("--context", metavar="TOKENS", help="tokens of each conversation")]
Hour = Annotated[float | None, typer.Option("--hour", metavar="PRICE", help="what an hour of all these GPUs costs")]
Least = Annotated[float, typer.Option("--speed", metavar="TOKENS", help="tokens a second that each user should see")]
SavingShare = Annotated[
    float | None, typer.Option("--saving", metavar="SHARE", help="fewer tokens by AutoThink, as `kat stats` measured")
]
Quantization = Annotated[
    str | None, typer.Option("--quantization", help="none, fp8, awq, gptq, mixed; else the best that fits")
]
KvType = Annotated[str | None, typer.Option("--kv-cache-dtype", help="auto or fp8")]


def size_model(
    model: Annotated[str, typer.Argument(help="a name of `kat models list`, a folder, a GGUF file, or a hub's name")],
    gpu: Gpus = None,
    users: Users = 1,
    context: Context = None,
    hour: Hour = None,
    speed: Least = 20.0,
    saving: SavingShare = None,
    quantization: Quantization = None,
    kv_dtype: KvType = None,
    json_: Json = False,
) -> int:
    """Weights, cache, speed and price of a model on GPUs, with the arithmetic."""
    from model.catalog import described
    from model.serving.fitting.report import reported
    from model.serving.fitting.sizing import plan
    from model.serving.plan import DoesNotFit, Wish

    _checked(users, context, hour, speed, saving)
    wish = Wish(context=context, users=users, quantization=quantization, kv_dtype=kv_dtype)
    try:
        found = plan(described(entry_named(model, load().models)), machine_asked(gpu), wish)
    except DoesNotFit as error:
        return _refused(error, json_)
    except ValueError as error:
        raise UserError(str(error)) from None
    report = reported(found, users, hour, speed, saving, context)
    _show(found, report, json_)
    return Exit.DONE


def machine_asked(gpu: str | None) -> Machine:
    """The hardware of the option, or this machine's.

    Raises:
        UserError: the option names none.
    """
    from model.serving.hardware.devices import asked_machine, find_machine

    try:
        return find_machine() if gpu is None else asked_machine(gpu)
    except ValueError as error:
        raise UserError(str(error)) from None


def _checked(users: int, context: int | None, hour: float | None, speed: float, saving: float | None) -> None:
    for name, value, least in (("--users", users, 1), ("--context", context, 1), ("--hour", hour, 0)):
        if value is not None and not least <= value < 1e12:
            raise UserError(f"{name} is {value:g}; give a number of at least {least}")
    if not 0 < speed < 1e9:
        raise UserError(f"--speed is {speed:g}; give tokens a second above 0")
    if saving is not None and not 0 <= saving < 1:
        raise UserError(f"--saving is {saving:g}; give a share from 0 to 1, as 0.3 for 30 %")


def _refused(error: DoesNotFit, json_: bool) -> Exit:
    from assistant.safety.sanitize import sanitize

    if json_:
        print(json.dumps({"fits": False, "message": str(error), "lines": error.lines, "instead": error.instead}))
        return Exit.NOT_ACHIEVED
    head = ("What would fit:",) if error.instead else ()
    for line in (*error.lines, f"{error}.", *head, *(f"  {each}" for each in error.instead)):
        print(sanitize(line))
    return Exit.NOT_ACHIEVED


def _show(plan: Plan, report: Report, json_: bool) -> None:
    from assistant.safety.sanitize import sanitize

    if json_:
        print(json.dumps({"fits": True, **report.as_json()}, ensure_ascii=False))
        return
    for line in (*plan.lines, *report.lines):
        print(sanitize(line))
