"""`kat serve`: a model served with everything that KAT needs, on the hardware that is here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assistant.commands.options import DialectName, Json
from assistant.commands.serving import adapters as serve_adapters
from assistant.commands.serving import servers as serve_servers

app = typer.Typer(help="Serve a model: kat serve MODEL.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(serve_adapters.app, name="adapters")
app.command("status")(serve_servers.status)
app.command("stop")(serve_servers.stop)
app.command("logs")(serve_servers.logs)
app.command("key")(serve_servers.key)

Gpu = Annotated[
    str | None, typer.Option("--gpu", metavar="TYPE:N", help="reckon for these GPUs, as h100:2 or h100:8x2, or none")
]
Nodes = Annotated[int | None, typer.Option("--nodes", min=1, help="machines of that kind")]
Runner = Annotated[str | None, typer.Option("--runner", help="vllm or llama; else by the model and the machine")]
Context = Annotated[int | None, typer.Option("--context", min=1, help="tokens of one conversation")]
Users = Annotated[int, typer.Option("--users", min=1, help="conversations at once")]
Quantization = Annotated[str | None, typer.Option("--quantization", help="fp8, awq, gptq, or none for 16 bits")]
KvType = Annotated[str | None, typer.Option("--kv-cache-dtype", help="auto or fp8")]
Tensor = Annotated[int | None, typer.Option("--tensor-parallel", min=1, help="GPUs that share each layer")]
Pipeline = Annotated[int | None, typer.Option("--pipeline-parallel", min=1, help="stages that share the layers")]
Data = Annotated[int, typer.Option("--data-parallel", min=1, help="copies of the model")]
Socket = Annotated[
    Path | None, typer.Option("--socket", help="listen on this Unix socket (the default is one of ours)")
]
Host = Annotated[str | None, typer.Option("--host", help="listen on a port of this address instead, behind a key")]
Port = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="the port; else a free one")]
Adapters = Annotated[
    list[str] | None, typer.Option("--adapter", metavar="NAME=PATH", help="a LoRA adapter to load; repeatable")
]
Speculate = Annotated[str, typer.Option("--speculate", help="guess ahead from the prompt: auto, ngram or off")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print hardware, arithmetic, reasons and the command only")]
For = Annotated[str | None, typer.Option("--for", help="print files for slurm, ray, k8s or compose only")]
On = Annotated[
    str | None, typer.Option("--on", metavar="HOST", help="serve on that machine, by ssh; its socket is here")
]
Detach = Annotated[bool, typer.Option("--detach", help="come back when it is ready; it runs on")]
Extra = Annotated[list[str] | None, typer.Argument(metavar="[-- VLLM OPTIONS]", help="options of vLLM's own")]


@app.command("start")
def start(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="a name of `kat models list`, ORGANISATION/NAME, a folder or a GGUF")
    ],
    extra: Extra = None,
    gpu: Gpu = None,
    nodes: Nodes = None,
    runner: Runner = None,
    context: Context = None,
    users: Users = 1,
    quantization: Quantization = None,
    kv_cache_dtype: KvType = None,
    tensor_parallel: Tensor = None,
    pipeline_parallel: Pipeline = None,
    data_parallel: Data = 1,
    adapter: Adapters = None,
    speculate: Speculate = "auto",
    dialect: DialectName = None,
    socket: Socket = None,
    host: Host = None,
    port: Port = None,
    dry_run: DryRun = False,
    for_: For = None,
    on: On = None,
    detach: Detach = False,
    json_: Json = False,
) -> int:
    """Serve a model until Ctrl-C: sized for this machine, watched, and started again if it dies."""
    from assistant.commands.serving import start as serve_start
    from assistant.commands.serving.request import Request

    request = Request(
        model, gpu=gpu, nodes=nodes, runner=runner, context=context, users=users, quantization=quantization,
        kv_cache_dtype=kv_cache_dtype, tensor_parallel=tensor_parallel, pipeline_parallel=pipeline_parallel,
        data_parallel=data_parallel, adapter=tuple(adapter or ()), speculate=speculate, dialect=dialect,
        socket=socket, host=host, port=port, extra=tuple(extra or ()),
    )  # fmt: skip
    way = serve_start.Way(dry_run, for_, on, detach, json_)
    return serve_start.start(request, way)
