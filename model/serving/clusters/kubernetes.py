"""A manifest for Kubernetes: the copies as pods that hold GPUs, a service, and who may reach it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from model.serving.clusters.layout import (
    IMAGE,
    PORT,
    RENDEZVOUS_PORT,
    ROUTER,
    SITE,
    STARTUP,
    Layout,
    Server,
    heading,
    literal,
    router_words,
    server,
)
from model.serving.clusters.yaml_text import Noted, Value, comment, document
from model.serving.fitting.footprint import weight_bytes
from model.serving.plan import GIB, Launch, Plan

PYTHON_IMAGE = "python:3.12-slim"
"""What the router runs in: a Rust program in a wheel, which needs nothing else."""
SPARE = 1.3
"""Room on the volume for each GiB of weights (our choice: a second revision does not fit, a failed download does)."""
SHM = "16Gi"
"""Shared memory by which the processes of a pod talk; our choice, as vLLM's examples have it."""
_HOW = (
    "Use it: openssl rand -hex 32 | tr -d '\\n' | kubectl create secret generic kat-serve "
    "--from-file=api-key=/dev/stdin, and then: kubectl apply -f FILE",
    "From your machine: kubectl port-forward service/{name} {port}:{port}, then: kat --engine http://127.0.0.1:{port}, "
    "with KAT_API_KEY=$(kubectl get secret kat-serve -o jsonpath='{{.data.api-key}}' | base64 -d).",
    "Pods of the namespace that are labelled kat-client=true reach it too. The key guards /v1 only; /metrics and "
    "/tokenize answer without one, so the NetworkPolicy is part of the fence: it needs a network that enforces it.",
)
_LWS = (
    "A copy over several nodes is a LeaderWorkerSet, which must be installed in the cluster (lws.sigs.k8s.io). Its "
    "pods meet by vLLM's own --nnodes, so no Ray is needed (our choice)."
)

_INSTALLING = (
    "KAT Pilot's parsers and template, found by vLLM through PYTHONPATH. Without a way out to an index, build an\n"
    "image from the one below with `pip install --no-deps` of the same package, and leave this step out."
)
_ONE_ROUTER = (
    "One: it remembers which copy holds which prefix. Its control paths ask for no key; see the NetworkPolicy."
)
EVERY_INTERFACE = "0.0.0.0"  # noqa: S104 - within a pod or container; each file says what fences it
_QUIET: Mapping[str, Value] = {
    "enableServiceLinks": Noted(False, "Variables that name services, such as VLLM_PORT, would be read as settings."),
    "automountServiceAccountToken": False,
}
_KEY: Mapping[str, Value] = {
    "name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": "kat-serve", "key": "api-key"}},
}  # fmt: skip
_MEETING: Sequence[Value] = (
    "--distributed-executor-backend", "mp", "--nnodes", "$(LWS_GROUP_SIZE)", "--node-rank", "$(LWS_WORKER_INDEX)",
    "--master-addr", "$(LWS_LEADER_ADDRESS)", "--master-port", str(RENDEZVOUS_PORT),
)  # fmt: skip
"""Where the nodes of a copy meet, by variables that a LeaderWorkerSet sets in each pod."""
Object: TypeAlias = "dict[str, Value]"


def manifest(plan: Plan, launch: Launch, shape: Layout, version: str) -> str:
    """The documents that `kubectl apply` takes."""
    copy = server(launch, private=False)
    how = [line.format(name=shape.name, port=PORT) for line in _HOW]
    how += [_LWS] if shape.nodes > 1 else []
    how += [
        f"{path} is a path of this machine: put it on the volume of models and write its path under /models."
        for path in copy.paths
    ]
    serving = [_leader_worker_set(copy, shape, version)] if shape.nodes > 1 else [_stateful_set(copy, shape, version)]
    routing = [_router(shape)] if shape.routed else []
    documents = [_volume(plan, shape), *_services(shape), *serving, *routing, *_policies(shape)]
    above = [comment(line) for line in heading("k8s", plan, launch, shape, how)]
    return "\n".join([*above, "", "---\n".join(document(part) for part in documents)])


def _object(kind: str, name: str, spec: Mapping[str, Value], *, api: str = "v1", app: str = "") -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "labels": {"app": app or name}}, "spec": spec}


def _group(shape: Layout) -> str:
    """The name of the copies, and of the service that names each; pods are called so with their number behind."""
    return f"{shape.name}-copy"


def _pods(shape: Layout, role: str = "") -> Object:
    """The labels of a copy's pods: all of them, or the leaders, which alone answer."""
    return {"app": _group(shape), **({"role": role} if role and shape.nodes > 1 else {})}


def _volume(plan: Plan, shape: Layout) -> Object:
    mode = "ReadWriteMany" if shape.copies * shape.nodes > 1 else "ReadWriteOnce"
    size = max(10, math.ceil(_stored(plan) * SPARE))
    spec: Object = {
        "accessModes": Noted([mode], "The weights, so that a restart does not fetch them again."),
        "resources": {"requests": {"storage": f"{size}Gi"}},
    }
    return _object("PersistentVolumeClaim", f"{shape.name}-models", spec, app=shape.name)


def _stored(plan: Plan) -> float:
    """GiB of the files: as they are published, also where the weights are made smaller while they load."""
    shape = plan.model.architecture
    return plan.weights if shape is None else weight_bytes(shape, plan.model.quantization) / GIB


def _services(shape: Layout) -> list[Object]:
    """The address that clients use, and for several copies names of the single ones."""
    to = {"app": f"{shape.name}-router"} if shape.routed else _pods(shape, "leader")
    client: Object = {"type": "ClusterIP", "selector": to, "ports": [{"name": "http", "port": PORT}]}
    names: Object = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": _pods(shape)}
    services = [_object("Service", shape.name, client)]
    # A LeaderWorkerSet makes the second one itself.
    return services if shape.nodes > 1 else [*services, _object("Service", _group(shape), names, app=shape.name)]


def _stateful_set(copy: Server, shape: Layout, version: str) -> Object:
    pod = _pod(copy, shape, version, _listening(), answers=True)
    spec: Object = {
        "replicas": Noted(shape.copies, "A StatefulSet stops the old pod before the new one, which needs its GPUs."),
        "serviceName": _group(shape),
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": _pods(shape)},
        "template": {"metadata": {"labels": _pods(shape)}, "spec": pod},
    }
    return _object("StatefulSet", _group(shape), spec, api="apps/v1", app=shape.name)


def _leader_worker_set(copy: Server, shape: Layout, version: str) -> Object:
    lead = _pod(copy, shape, version, [*_MEETING, *_listening()], answers=True)
    work = _pod(copy, shape, version, [*_MEETING, "--headless"], answers=False)
    template: Object = {
        "size": shape.nodes,
        "restartPolicy": Noted("RecreateGroupOnPodRestart", "A copy that loses a node cannot go on without it."),
        "leaderTemplate": {"metadata": {"labels": _pods(shape, "leader")}, "spec": lead},
        "workerTemplate": {"metadata": {"labels": _pods(shape, "worker")}, "spec": work},
    }
    spec: Object = {"replicas": shape.copies, "leaderWorkerTemplate": template}
    return _object("LeaderWorkerSet", _group(shape), spec, api="leaderworkerset.x-k8s.io/v1", app=shape.name)


def _pod(copy: Server, shape: Layout, version: str, more: Sequence[Value], *, answers: bool) -> Object:
    """A pod of a copy; only one that `answers` has an API, a key and probes."""
    template = ["--chat-template", f"{SITE}/model/dialects/kat.jinja"] if copy.template else []
    container: Object = {
        "name": "vllm",
        "image": IMAGE,
        "command": list(copy.words[:2]),
        "args": [*map(literal, copy.words[2:]), *template, *more],
        "env": [*_environ(copy), *([_KEY] if answers else [])],
        "resources": {"limits": {"nvidia.com/gpu": shape.gpus}},
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [_mount("site", SITE), _mount("models", "/models"), _mount("shm", "/dev/shm")],  # noqa: S108
        **(_probes() if answers else {}),
    }
    return {
        **_QUIET,
        "terminationGracePeriodSeconds": 120,
        "initContainers": Noted([_installing(version)], _INSTALLING),
        "containers": [container],
        "volumes": _volumes(shape),
    }


def _listening() -> list[Value]:
    why = "All interfaces of the pod: its address is known only when it starts. The NetworkPolicy below is the fence."
    return [Noted("--host", why), EVERY_INTERFACE, "--port", str(PORT)]


def _environ(copy: Server) -> list[Value]:
    values = {"PYTHONPATH": SITE, "HF_HOME": "/models/huggingface", **copy.environ}
    return [{"name": name, "value": literal(value)} for name, value in values.items()]


def _installing(version: str) -> Object:
    command = ["python3", "-m", "pip", "install", "--no-deps", "--target", SITE, f"kat-pilot=={version}"]
    return {"name": "plugin", "image": IMAGE, "command": command, "volumeMounts": [_mount("site", SITE)]}


def _mount(name: str, path: str) -> Object:
    return {"name": name, "mountPath": path}


def _volumes(shape: Layout) -> list[Value]:
    return [
        {"name": "site", "emptyDir": {}},
        {"name": "models", "persistentVolumeClaim": {"claimName": f"{shape.name}-models"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHM}},
    ]


def _probes() -> Object:
    """vLLM answers /health without a key; a start may fetch the weights, a busy server may be slow to answer."""
    asked: Object = {"httpGet": {"path": "/health", "port": PORT}}
    return {
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": {**asked, "periodSeconds": 10, "failureThreshold": STARTUP // 10},
        "readinessProbe": {**asked, "periodSeconds": 10, "timeoutSeconds": 5},
        "livenessProbe": {**asked, "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 4},
    }


def _router(shape: Layout) -> Object:
    name, site = f"{shape.name}-router", _mount("site", SITE)
    install = ["python", "-m", "pip", "install", "--no-deps", "--target", SITE, f"vllm-router=={ROUTER}"]
    urls = [f"http://{_group(shape)}-{number}.{_group(shape)}:{PORT}" for number in range(shape.copies)]
    start = ["--worker-startup-timeout-secs", str(STARTUP)]
    container: Object = {
        "name": "router",
        "image": PYTHON_IMAGE,
        "command": ["python", "-m", "vllm_router.launch_router"],
        "args": [*router_words(EVERY_INTERFACE, urls)[1:], *start],
        "env": [{"name": "PYTHONPATH", "value": SITE}],
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [site],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}},
    }
    plugin: Object = {"name": "router-wheel", "image": PYTHON_IMAGE, "command": install, "volumeMounts": [site]}
    volumes: list[Value] = [{"name": "site", "emptyDir": {}}]
    pod: Object = {**_QUIET, "initContainers": [plugin], "containers": [container], "volumes": volumes}
    spec: Object = {
        "replicas": Noted(1, _ONE_ROUTER),
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
    }
    return _object("Deployment", name, spec, api="apps/v1")


def _policies(shape: Layout) -> list[Object]:
    """Who may connect: labelled pods to the address of clients; to copies the router, and the pods of a copy."""
    clients: Object = {"podSelector": {"matchLabels": {"kat-client": "true"}}}
    router: Object = {"podSelector": {"matchLabels": {"app": f"{shape.name}-router"}}}
    port: list[Value] = [{"protocol": "TCP", "port": PORT}]
    rules: list[Value] = [{"from": [router if shape.routed else clients], "ports": port}]
    if shape.nodes > 1:
        rules.append(
            {"from": Noted([{"podSelector": {"matchLabels": _pods(shape)}}], "The nodes of a copy, any port.")}
        )
    policies = [_policy(_group(shape), _pods(shape), rules)]
    if shape.routed:
        name = f"{shape.name}-router"
        policies.append(_policy(name, {"app": name}, [{"from": [clients], "ports": port}]))
    return policies


def _policy(name: str, pods: Object, rules: list[Value]) -> Object:
    spec: Object = {"podSelector": {"matchLabels": pods}, "policyTypes": ["Ingress"], "ingress": rules}
    return _object("NetworkPolicy", name, spec, api="networking.k8s.io/v1")
