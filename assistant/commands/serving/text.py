"""What `kat serve` says: the plan and its command before, the stages of the start, and what happens after."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from assistant.commands.serving.request import Prepared
from assistant.safety.sanitize import sanitize
from model.serving.plan import DoesNotFit, Plan
from model.serving.starting.launch import key_note, shown
from model.serving.supervision.loaded import LoadedAgain
from model.serving.supervision.running import Running
from model.serving.supervision.supervise import Crashed, GaveUp, Progress, Ready, ServerEvent

_CLEAR = "\r\x1b[K"


def dry_run_text(ready: Prepared) -> str:
    """Hardware, arithmetic, choices and the command, for people."""
    plan = ready.plan
    parts = [
        title(plan),
        _block("arithmetic", plan.lines),
        _block("choices", choices(ready)),
        f"command\n  {shown(ready.launch)}",
    ]
    if ready.launch.secrets:
        parts.append(
            f"{', '.join(sorted(ready.launch.secrets))} is made anew at each start, and kept where you alone read"
        )
    return "\n\n".join(parts)


def dry_run_json(ready: Prepared) -> dict[str, Any]:
    """The same for programs; secrets are left out."""
    plan, launch = ready.plan, ready.launch
    shown_environ = {name: value for name, value in launch.environ.items() if name not in launch.secrets}
    return {
        "fits": True,
        **plan.figures,
        "users": round(plan.users, 2),
        "arithmetic": plan.lines,
        "choices": choices(ready),
        "argv": launch.argv,
        "environ": shown_environ,
        "secrets": sorted(launch.secrets),
        "address": launch.endpoint.url,
    }


def choices(ready: Prepared) -> tuple[str, ...]:
    """The reason for each choice, and what to beware of."""
    warning = key_note(ready.launch)
    return (*ready.launch.why, *ready.notes, *([f"warning: {warning}"] if warning else []))


def misfit_text(error: DoesNotFit) -> str:
    """The arithmetic of what does not fit, and what would."""
    return "\n\n".join(filter(None, (_block("arithmetic", error.lines), _block("what fits instead", error.instead))))


def misfit_json(error: DoesNotFit) -> dict[str, Any]:
    """The same for programs."""
    return {"fits": False, "message": str(error), "arithmetic": error.lines, "instead": error.instead}


def title(plan: Plan) -> str:
    """The model and its licence, and what is not known of it."""
    entry = plan.model
    assumed = f" · assumed: {', '.join(sorted(entry.assumed))}" if entry.assumed else ""
    return f"{entry.name} · {entry.title} · dialect {entry.dialect} · licence {entry.licence or 'unknown'}{assumed}"


def address_lines(running: Running) -> Iterator[str]:
    """How to use a server that is ready."""
    yield f"{running.model} is served at {running.address}"
    yield f"  `kat` finds it by itself; `kat serve status` shows it, `kat serve stop {running.name}` ends it"
    if running.endpoint.key:
        yield f"  other clients need its key: `kat serve key {running.name}` prints it"
    elif running.endpoint.socket:
        yield f"  other clients speak OpenAI's protocol to it, as: curl --unix-socket {running.endpoint.socket} …"


@dataclass(slots=True)
class Output:
    """Shows the events of a start: JSON lines, or one line on a terminal that changes, or a line a stage."""

    as_json: bool = False
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    _stage: str = ""

    def event(self, event: ServerEvent) -> None:
        """Show one."""
        match event:
            case Progress():
                self._progress(event)
            case Ready(seconds):
                self._say("ready", f"ready after {seconds:.1f} s", seconds=round(seconds, 2))
            case Crashed(reason, lines, wait):
                text = f"the server died: {reason}; it is started again in {wait:g} s"
                self._say("crashed", text, lines=lines, wait=wait)
            case LoadedAgain(adapter, reason):
                text = f"{adapter} is not loaded again: {reason}" if reason else f"{adapter} is loaded again"
                self._say("adapter", text, adapter=adapter, ok=not reason)
            case GaveUp(reason, lines):
                self._say("gave_up", reason, lines=lines)
            case _:
                pass

    def note(self, text: str) -> None:
        """Something to know, for people and programs alike."""
        self._say("note", text)

    def ready(self, running: Running) -> None:
        """Where it is now."""
        if self.as_json:
            served = {"name": running.name, "model": running.model, "address": running.address}
            self._json("served", **served, dialect=running.dialect, log=str(running.log))
            return
        print(*map(sanitize, address_lines(running)), sep="\n", file=self.out, flush=True)

    def clear(self) -> None:
        """Take away the line that changes, before somebody else writes."""
        if self.err.isatty():
            print(_CLEAR, end="", file=self.err, flush=True)

    def _progress(self, event: Progress) -> None:
        stage, detail = event.stage.name, event.stage.detail
        of = f" of about {event.estimate:.0f} s" if event.estimate else " s"
        text = f"{stage}{f' ({detail})' if detail else ''} · {event.seconds:.0f}{of}"
        if not self.as_json and self.err.isatty():
            print(f"{_CLEAR}{sanitize(text)}", end="", file=self.err, flush=True)
        elif stage != self._stage:
            self._say("stage", text, stage=stage, seconds=round(event.seconds, 2), estimate=event.estimate)
        self._stage = stage

    def _say(self, kind: str, text: str, lines: tuple[str, ...] = (), **more: Any) -> None:
        if self.as_json:
            self._json(kind, text=text, **({"lines": lines} if lines else {}), **more)
            return
        self.clear()
        print(
            sanitize(text),
            *(f"  | {sanitize(line)}" for line in lines),
            sep="\n",
            file=self.err,
            flush=True,
        )

    def _json(self, kind: str, **data: Any) -> None:
        print(json.dumps({"kind": kind, **data}), file=self.out, flush=True)


def _block(name: str, lines: tuple[str, ...]) -> str:
    return "\n".join([name, *(f"  {line}" for line in lines)]) if lines else ""
