"""`kat serve MODEL`: print what would be done, or do it, here or on another machine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from assistant.commands.opening import settings_from
from assistant.commands.serving.remote import remote
from assistant.commands.serving.request import NotStarted, Purpose, Request, planned, prepared, vllm_for
from assistant.commands.serving.run import Job, run
from assistant.commands.serving.text import Output, choices, dry_run_json, dry_run_text, misfit_json, misfit_text, title
from assistant.errors import Exit, UserError
from model.catalog import CatalogEntry
from model.serving.plan import DoesNotFit, Plan, Runner
from model.serving.supervision.running import servers_directory

_FOR_NODES = 8000
"""The port that files for other machines name; vLLM's own default."""


@dataclass(frozen=True, slots=True)
class Way:
    """What to do with a request: print it, print files of a `kind` for other machines, run it there or here."""

    dry_run: bool = False
    kind: str | None = None
    on: str | None = None
    detach: bool = False
    as_json: bool = False


def start(request: Request, way: Way, environ: Mapping[str, str] = os.environ, output: Output | None = None) -> int:
    """Print or run a request, showing events by `output`; the exit code.

    Raises:
        UserError: something of it cannot be.
        NotStarted: it does not fit, or did not start.
    """
    _expect_sense(request, way)
    settings, output = settings_from(), output or Output(way.as_json)
    if way.on:
        return remote(request, way.on, output, environ, dry_run=way.dry_run, detach=way.detach)
    try:
        plan = planned(request, settings, environ)
    except DoesNotFit as error:
        print(json.dumps(misfit_json(error)) if way.as_json else misfit_text(error))
        raise NotStarted(str(error)) from None
    if way.kind:
        return _files(request, plan, way.kind, environ)
    if way.dry_run:
        ready = prepared(request, plan, environ, weights=_weights_shown(plan, environ), purpose=Purpose.SHOW)
        print(json.dumps(dry_run_json(ready)) if way.as_json else dry_run_text(ready))
        return Exit.DONE
    return _run(request, plan, output, environ, detach=way.detach)


def _run(request: Request, plan: Plan, output: Output, environ: Mapping[str, str], *, detach: bool) -> int:
    ready = prepared(request, plan, environ, weights=_weights(plan, output, environ))
    output.note(title(plan))
    for line in choices(ready):
        output.note(f"  {line}")
    return run(Job(ready, servers_directory(environ), environ), output, detach=detach)


def _files(request: Request, plan: Plan, kind: str, environ: Mapping[str, str]) -> int:
    """Files for other machines: there the server listens on a port, with a key that the file does not hold."""
    from model.serving.clusters.nodes import render

    there = replace(request, socket=None, host=request.host or "127.0.0.1", port=request.port or _FOR_NODES)
    ready = prepared(there, plan, environ, purpose=Purpose.FILE)
    try:
        print(render(kind, plan, ready.launch), end="")
    except ValueError as error:
        raise UserError(str(error)) from None
    return Exit.DONE


def _weights(plan: Plan, output: Output, environ: Mapping[str, str]) -> str | None:
    """Where the weights are, once they are there and of a kind that the runner reads; None for a name on a hub."""
    entry = plan.model
    if entry.files:
        gguf = _pulled(entry, output)
    elif entry.path and entry.quantization == "gguf":
        gguf = entry.path
    else:
        return None
    if plan.runner is Runner.LLAMA:
        return str(gguf)
    from model.serving.starting.weights import safetensors_of, weights_directory

    folder = weights_directory(environ)
    if not (entry.files and (folder / entry.files[0].sha256).is_dir()):
        output.note(f"vLLM reads safetensors: {gguf.name} is converted, once")
    return str(safetensors_of(gguf, folder, vllm_for(plan, environ)[0].python))


def _weights_shown(plan: Plan, environ: Mapping[str, str]) -> str | None:
    """The same for a command that is only printed: nothing is fetched or converted."""
    from model.pull import model_path, models_directory
    from model.serving.starting.weights import weights_directory

    entry = plan.model
    if not entry.files:
        return None
    if plan.runner is Runner.LLAMA:
        return str(model_path(entry, models_directory(environ)))
    return str(weights_directory(environ) / entry.files[0].sha256)


def _pulled(entry: CatalogEntry, output: Output) -> Path:
    from model.pull import is_pulled, pull

    if not is_pulled(entry):
        output.note(f"fetching {entry.title} (licence {entry.licence or 'unknown'})")
    return pull(entry)


def _expect_sense(request: Request, way: Way) -> None:
    """Raises UserError for options that contradict each other."""
    if request.extra and not request.extra[0].startswith("-"):
        raise UserError(
            f"unexpected argument {request.extra[0]!r}; options for vLLM begin with a dash and stand behind --"
        )
    if way.kind and (way.on or way.detach):
        raise UserError("--for only prints a file; leave --on and --detach out")
    if request.nodes and request.nodes > 1 and not (way.kind or way.dry_run):
        raise UserError("several nodes are started by a file: add --for slurm, ray, k8s or compose")
    if way.on and (request.socket or request.host or request.port):
        raise UserError("--on brings a socket of its own here; leave --socket, --host and --port out")
