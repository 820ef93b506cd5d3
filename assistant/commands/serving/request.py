"""What `kat serve MODEL` was asked for, and what follows from it: a plan, a command, a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

from assistant.config import Settings
from assistant.errors import Exit, UserError
from model.catalog import CatalogEntry, described, resolve
from model.dialects import dialect, dialect_of_model
from model.engine import EngineError
from model.serving.adapter_files import read_adapter, served_name
from model.serving.fitting import sizing
from model.serving.hardware.devices import asked_machine, find_machine
from model.serving.plan import Endpoint, Launch, Machine, Plan, Runner, Wish
from model.serving.starting.endpoints import BadEndpoint, Place, endpoint_for
from model.serving.starting.launch import BadOption, Options, Speculation, vllm_launch
from model.serving.starting.lent_plugin import lent_plugin
from model.serving.starting.llama import LlamaOptions, llama_launch
from model.serving.starting.versions import TYPICAL, TYPICAL_CPU, Installed, NoVllm, find, usable
from model.serving.supervision.running import servers_directory

_NOT_IN_NAMES = re.compile(r"[^a-z0-9.]+")
_LONGEST_NAME = 40
_GGUF = ".gguf"


class NotStarted(UserError):
    """Nothing is wrong with what was typed, but the server cannot be started here."""

    code = Exit.NOT_ACHIEVED


class Purpose(StrEnum):
    """What a command is for: to be run here, to be shown, or to go into a file for other machines."""

    RUN = "run"
    SHOW = "show"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Request:
    """The options of `kat serve MODEL`, by their names; None where the user said nothing."""

    model: str
    gpu: str | None = None
    nodes: int | None = None
    runner: str | None = None
    context: int | None = None
    users: int = 1
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    data_parallel: int = 1
    adapter: tuple[str, ...] = ()
    speculate: str = Speculation.AUTO
    dialect: str | None = None
    socket: Path | None = None
    host: str | None = None
    port: int | None = None
    extra: tuple[str, ...] = ()

    def words(self, without: frozenset[str] = frozenset()) -> list[str]:
        """The same as one would type it behind `kat serve`."""
        return [*self._options(without), *(["--", *self.extra] if self.extra else [])]

    def _options(self, without: frozenset[str]) -> Iterator[str]:
        yield self.model
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in {"model", "extra", *without} or value == each.default:
                continue
            for one in value if isinstance(value, tuple) else (value,):
                yield from (f"--{each.name.replace('_', '-')}", str(one))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A server that can be started: its name for `kat serve stop`, the plan, the command, and what clients call it."""

    name: str
    served: str
    plan: Plan
    launch: Launch
    notes: tuple[str, ...] = ()
    version: str = ""


def planned(request: Request, settings: Settings, environ: Mapping[str, str]) -> Plan:
    """How the model will run here, or on the hardware asked about.

    Raises:
        UserError: something of the request cannot be.
        DoesNotFit: the model does not.
    """
    _speculation(request.speculate)
    try:
        entry = described(resolve(request.model, [own.entry() for own in settings.models]), environ)
        machine = asked_machine(request.gpu) if request.gpu else find_machine(environ)
        if request.nodes:
            machine = replace(machine, nodes=request.nodes)
        entry = replace(entry, dialect=dialect(request.dialect).name) if request.dialect else entry
        return sizing.plan(entry, machine, _wish(request, entry, machine))
    except (ValueError, EngineError) as error:
        raise UserError(str(error)) from None


def prepared(
    request: Request,
    plan: Plan,
    environ: Mapping[str, str],
    *,
    weights: str | None = None,
    purpose: Purpose = Purpose.RUN,
) -> Prepared:
    """The command for a plan. `weights` is where they are, if not where the catalogue says.

    Raises:
        UserError: an option cannot be used.
        NotStarted: there is no vLLM that may be used.
    """
    _expect_readable(plan)
    name = server_name(plan.model.name)
    names = _served(plan.model, request.model)
    try:
        endpoint = endpoint_for(Place(request.socket, request.host, request.port), name, environ)
        if plan.runner is Runner.LLAMA:
            return _with_llama(request, plan, endpoint, names[0], weights or plan.model.source)
        return _with_vllm(request, plan, endpoint, names, environ, weights, purpose)
    except (BadOption, BadEndpoint) as error:
        raise UserError(str(error)) from None


def vllm_for(plan: Plan, environ: Mapping[str, str], *, assume: bool = False) -> tuple[Installed, str]:
    """The vLLM to use, and what is to be said of it.

    Raises:
        NotStarted: there is none that may be used.
    """
    gpus = plan.runner is Runner.VLLM
    try:
        return usable(find(environ), gpus=gpus), ""
    except NoVllm as error:
        if assume:
            return _typical(plan), str(error)
        raise NotStarted(str(error)) from None


def _typical(plan: Plan) -> Installed:
    return TYPICAL if plan.runner is Runner.VLLM else TYPICAL_CPU


def server_name(model: str) -> str:
    """What a server is called by `kat serve stop`, its socket and its files."""
    return _NOT_IN_NAMES.sub("-", model.lower()).strip("-.")[:_LONGEST_NAME] or "server"


def _wish(request: Request, entry: CatalogEntry, machine: Machine) -> Wish:
    return Wish(
        context=request.context,
        users=request.users,
        quantization=request.quantization,
        kv_dtype=request.kv_cache_dtype,
        tensor_parallel=request.tensor_parallel,
        pipeline_parallel=request.pipeline_parallel,
        data_parallel=request.data_parallel,
        adapters=tuple(_adapter(text, entry) for text in request.adapter),
        runner=_runner(request.runner, entry, machine),
    )


def _runner(wanted: str | None, entry: CatalogEntry, machine: Machine) -> Runner | None:
    match wanted:
        case None:
            return None
        case "llama":
            if entry.quantization != "gguf":
                raise UserError(f"llama.cpp reads GGUF files, and {entry.name} is none; leave --runner out")
            return Runner.LLAMA
        case "vllm":
            return Runner.VLLM if machine.gpus and entry.quantization != "gguf" else Runner.VLLM_CPU
        case _:
            raise UserError(f"--runner cannot be {wanted!r}: it is vllm or llama")


def _speculation(text: str) -> Speculation:
    try:
        return Speculation(text)
    except ValueError:
        raise UserError(f"--speculate cannot be {text!r}: it is {', '.join(Speculation)}") from None


def _adapter(text: str, entry: CatalogEntry) -> str:
    """NAME=PATH as the server gets it: absolute, and for vLLM with the version in the name, which its cache goes by."""
    name, separator, path = text.partition("=")
    if not (name and separator and path):
        raise UserError(f"--adapter takes NAME=PATH, not {text!r}")
    folder = Path(path).expanduser().absolute()
    if folder.suffix == _GGUF:
        if not folder.is_file():
            raise UserError(f"there is no adapter {folder}")
        return f"{name}={folder}"
    return f"{served_name(name, read_adapter(folder).version)}={folder}"


def _expect_readable(plan: Plan) -> None:
    """Raises UserError for adapters that the runner does not read."""
    wants_gguf = plan.runner is Runner.LLAMA
    for adapter in plan.adapters:
        if adapter.endswith(_GGUF) != wants_gguf:
            reads = "llama.cpp reads adapters as GGUF files" if wants_gguf else "vLLM reads adapters as peft saves them"
            raise UserError(f"{reads}, and {adapter.partition('=')[2]} is none of these")


def _served(entry: CatalogEntry, asked: str) -> tuple[str, ...]:
    """The names that clients may use; first one by which other programs see which dialect it speaks."""
    telling = (name for name in entry.names if dialect_of_model(name) == entry.dialect and "/" not in name)
    wanted = asked if Path(asked).name == asked else entry.name
    return tuple(dict.fromkeys([next(telling, entry.name), entry.name, wanted]))


def _with_llama(request: Request, plan: Plan, endpoint: Endpoint, served: str, gguf: str) -> Prepared:
    options = LlamaOptions(Path(gguf), served, request.users, extra=request.extra)
    return Prepared(server_name(plan.model.name), served, plan, llama_launch(plan, endpoint, options))


def _with_vllm(
    request: Request,
    plan: Plan,
    endpoint: Endpoint,
    names: tuple[str, ...],
    environ: Mapping[str, str],
    weights: str | None,
    purpose: Purpose,
) -> Prepared:
    assume = purpose is not Purpose.RUN
    elsewhere = assume and request.gpu is not None
    installed, note = (_typical(plan), "") if elsewhere else vllm_for(plan, environ, assume=assume)
    options = Options(
        installed,
        weights or plan.model.source,
        names,
        request.users,
        _speculation(request.speculate),
        request.extra,
        quick=environ.get("KAT_VLLM_QUICK") == "1",
        plugin_path=None if installed.plugin else lent_plugin(servers_directory(environ), write=not assume),
        python_path=environ.get("PYTHONPATH", ""),
        gate=purpose is not Purpose.FILE,
    )
    launch = vllm_launch(plan, endpoint, options)
    return Prepared(server_name(plan.model.name), names[0], plan, launch, (note,) if note else (), installed.version)
