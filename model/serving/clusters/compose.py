"""A file for docker compose: the copies of a model on the GPUs of one machine, reached on its loopback interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from model.serving.clusters.kubernetes import EVERY_INTERFACE, PYTHON_IMAGE
from model.serving.clusters.layout import (
    IMAGE,
    PORT,
    ROUTER,
    SITE,
    STARTUP,
    Layout,
    NoFile,
    Server,
    heading,
    literal,
    router_words,
    server,
)
from model.serving.clusters.yaml_text import Noted, Value, document
from model.serving.plan import Launch, Plan

Object: TypeAlias = "dict[str, Value]"
_PROBE = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/health', timeout=5)"
_HOW = (
    "Use it: (umask 077; printf 'VLLM_API_KEY=%s\\n' \"$(openssl rand -hex 32)\" > kat-serve.env), then: docker "
    "compose -f FILE up -d",
    "Then: kat --engine http://127.0.0.1:{port}, with the key of kat-serve.env in KAT_API_KEY.",
    "It needs the NVIDIA container toolkit. The port is published on the loopback interface only; from other machines "
    "come by ssh.",
)


def compose_file(plan: Plan, launch: Launch, shape: Layout, version: str) -> str:
    """The YAML that `docker compose` takes.

    Raises:
        NoFile: it takes more than one machine.
    """
    if shape.all_nodes > 1:
        raise NoFile(
            f"docker compose runs on one machine and this takes {shape.all_nodes}; use --for slurm, ray or k8s"
        )
    copy = server(launch, private=False)
    how = [line.format(port=PORT) for line in _HOW]
    return document(_file(copy, shape, version), heading("compose", plan, launch, shape, how))


def _file(copy: Server, shape: Layout, version: str) -> Object:
    copies = {_name(number): _copy(copy, shape, number) for number in range(shape.copies)}
    services: Object = {
        "plugin": Noted(_plugin(version), "KAT Pilot's parsers and template, beside vLLM's own packages."),
        **copies,
    }
    if shape.routed:
        services |= {"router-wheel": _wheel(), "router": _router(shape)}
    volumes: Object = {"site": {}, "models": {}, **({"router-site": {}} if shape.routed else {})}
    return {"name": shape.name, "services": services, "volumes": volumes}


def _name(number: int) -> str:
    return f"vllm-{number}"


def _plugin(version: str) -> Object:
    return _installing(IMAGE, f"kat-pilot=={version}", "site")


def _wheel() -> Object:
    return _installing(PYTHON_IMAGE, f"vllm-router=={ROUTER}", "router-site")


def _installing(image: str, package: str, volume: str) -> Object:
    words = ["python3", "-m", "pip", "install", "--no-deps", "--upgrade", "--target", SITE, package]
    return {"image": image, "entrypoint": words, "volumes": [f"{volume}:{SITE}"]}


def _copy(copy: Server, shape: Layout, number: int) -> Object:
    template = ["--chat-template", f"{SITE}/model/dialects/kat.jinja"] if copy.template else []
    listening: Sequence[Value] = [
        Noted("--host", "All interfaces of the container: docker publishes from there, on the loopback."),
        EVERY_INTERFACE, "--port", str(PORT),
    ]  # fmt: skip
    service: Object = {
        "image": IMAGE,
        "entrypoint": list(copy.words[:2]),
        "command": [*map(literal, copy.words[2:]), *template, *listening],
        "environment": {"PYTHONPATH": SITE, "HF_HOME": "/models", **_escaped(copy.environ)},
        "env_file": Noted(["kat-serve.env"], "The key, in a file that only you may read."),
        "volumes": [f"site:{SITE}:ro", "models:/models", *map(_bound, copy.paths)],
        "depends_on": {"plugin": {"condition": "service_completed_successfully"}},
        "deploy": {"resources": {"reservations": {"devices": [_gpus(shape, number)]}}},
        "shm_size": "16gb",
        **_lasting(_PROBE.format(port=PORT)),
    }
    return service if shape.routed else {**service, "ports": [_published()]}


def _escaped(environ: Mapping[str, str]) -> Object:
    return {name: literal(value) for name, value in environ.items()}


def _bound(path: str) -> Value:
    """A path of this machine, at the same place in the container, not to be written."""
    return {"type": "bind", "source": literal(path), "target": literal(path), "read_only": True}


def _gpus(shape: Layout, number: int) -> Object:
    first = number * shape.gpus
    ids: list[Value] = [str(gpu) for gpu in range(first, first + shape.gpus)]
    return {"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}


def _lasting(probe: str) -> Object:
    """What every service has that lasts."""
    return {
        "healthcheck": {
            "test": ["CMD", "python3", "-c", probe],
            "interval": "30s",
            "timeout": "10s",
            "start_period": Noted(f"{STARTUP}s", "The first start fetches the weights."),
        },
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "stop_grace_period": "60s",
    }


def _published() -> str:
    return f"127.0.0.1:{PORT}:{PORT}"


def _router(shape: Layout) -> Object:
    urls = [f"http://{_name(number)}:{PORT}" for number in range(shape.copies)]
    words = [*router_words(EVERY_INTERFACE, urls)[1:], "--worker-startup-timeout-secs", str(STARTUP)]
    return {
        "image": PYTHON_IMAGE,
        "entrypoint": ["python", "-m", "vllm_router.launch_router"],
        "command": words,
        "environment": {"PYTHONPATH": SITE},
        "volumes": [f"router-site:{SITE}:ro"],
        "depends_on": {"router-wheel": {"condition": "service_completed_successfully"}},
        "ports": Noted([_published()], "Its control paths ask for no key, so only this machine reaches it."),
        **_lasting(_PROBE.format(port=PORT)),
    }
