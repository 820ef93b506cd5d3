"""Files for clusters and containers: what they start is the launch, whole, and nothing in them is a secret."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.catalog import CATALOG
from model.serving.clusters.layout import NoFile, layout
from model.serving.clusters.nodes import Kind, render
from model.serving.clusters.yaml_text import Noted, Value, document
from model.serving.fitting.sizing import plan as planned
from model.serving.hardware.devices import asked_machine
from model.serving.plan import Endpoint, Gpu, Launch, Machine, Plan, Runner
from model.serving.starting.launch import Options, vllm_launch

yaml = pytest.importorskip("yaml", reason="PyYAML reads back what is written")

KEY = "A-very-secret-key"
H100 = Gpu("H100", 79.6)
MODEL = replace(CATALOG["nano"], name="Some/KAT 40b", dialect="kat", files=())
WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
ODD = [
    "",
    " ",
    "a b",
    "$HOME",
    "$(id)",
    "$$",
    "`id`",
    "'",
    '"',
    "\\",
    "a\nb",
    "#x",
    "- a: b",
    "yes",
    "1e3",
    "🙂",
    "\x1b[0m",
]
EXTRA = st.lists(st.one_of(st.sampled_from(ODD), WORDS), max_size=6)


def plan_of(nodes: int = 1, *, gpus: int = 8, tensor: int = 8, pipeline: int = 1, data: int = 1, **more: Any) -> Plan:
    machine = Machine((H100,) * gpus, "asked for", nodes=nodes)
    lines = ("weights  40 B × 2 bytes\n= 75 GiB",)
    return Plan(
        MODEL, machine, Runner.VLLM, None, "auto", tensor, pipeline, data, 4096, 75.6, 99.0, 9, 1.5, lines, **more
    )


def launch_of(plan: Plan, *extra: str, endpoint: Endpoint | None = None) -> Launch:
    return vllm_launch(plan, endpoint or Endpoint(socket=Path("/run/kat.sock")), Options(extra=extra))


SHAPES = {
    "one node": plan_of(),
    "one GPU": plan_of(gpus=1, tensor=1),
    "two nodes": plan_of(2, pipeline=2),
    "copies on a node": plan_of(tensor=2, data=4),
    "copies on nodes": plan_of(3),
    "copies of two nodes": plan_of(4, pipeline=2),
}
ONE_MACHINE = ("one node", "one GPU", "copies on a node")
RENDERED = [
    (kind, shape)
    for kind in Kind
    for shape in SHAPES
    if not (kind is Kind.COMPOSE and shape not in ONE_MACHINE)
    and not (kind is Kind.RAY and shape == "copies of two nodes")
]


def rendered(kind: str, shape: str, *extra: str, endpoint: Endpoint | None = None) -> str:
    return render(kind, SHAPES[shape], launch_of(SHAPES[shape], *extra, endpoint=endpoint), version="1.2.3")


def contains(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(list(words[at : at + len(part)]) == list(part) for at in range(len(words) - len(part) + 1))


_STAND_INS = {
    "scontrol": 'for n in $(seq "$NODES"); do echo "node$n"; done',
    "srun": """
        for word in "$@"; do case "$word" in --ntasks=*) count=${word#*=} ;; esac; done
        while [ "$1" != bash ]; do shift; done
        for ((task = 0; task < count; task++)); do
          SLURM_PROCID=$task SLURM_LOCALID=$((task % PER_NODE)) SLURMD_NODENAME="node$((task / PER_NODE + 1))" "$@"
        done""",
    "vllm": 'printf "%s\\0" "$VLLM_API_KEY" "$@" > "$OUT/task$SLURM_PROCID"',
    "vllm-router": 'printf "%s\\0" "$@" > "$OUT/router"',
    "python": "echo /site/model",
}
"""Commands of Slurm and of the nodes' environment, which write down what they were called with."""


class Cluster:
    """Runs a batch script with stand-ins for Slurm's commands and vLLM."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        tools, self.env = folder / "tools", folder / "env" / "bin"
        for place in (self.out, tools, self.env):
            place.mkdir(parents=True)
        for name, body in _STAND_INS.items():
            place = tools if name in ("scontrol", "srun") else self.env
            (place / name).write_text(f"#!/bin/bash\n{body}\n")
            (place / name).chmod(0o755)
        (self.env / "activate").write_text(f'PATH="{self.env}:$PATH"\n')
        self.path = f"{tools}:/usr/bin:/bin"

    def run(self, script: str, nodes: int = 1, per_node: int = 1) -> dict[str, list[str]]:
        """What each task and the router were called with, by `taskN` and `router`."""
        for old in self.out.iterdir():
            old.unlink()
        environ = {
            "PATH": self.path, "HOME": str(self.folder), "OUT": str(self.out), "KAT_ENV": str(self.env.parent),
            "SLURM_JOB_NODELIST": "node[1-9]", "NODES": str(nodes), "PER_NODE": str(per_node),
        }  # fmt: skip
        done = subprocess.run(
            ["bash"], input=script.encode(), env=environ, capture_output=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return {file.name: file.read_bytes().decode().split("\0")[:-1] for file in self.out.iterdir()}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def documents(text: str) -> list[dict[str, Any]]:
    return list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def expanded(word: str) -> str:
    """As Kubernetes and compose read a word that names no variable of theirs: two dollars are one."""
    assert not re.search(r"(?<!\$)(?:\$\$)*\$(?!\$)", word), f"{word!r} would be expanded"
    return word.replace("$$", "$")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EXTRA)
def test_every_word_reaches_vllm_through_a_batch_script(cluster: Cluster, extra: list[str]) -> None:
    words = launch_of(SHAPES["one node"], "--x", *extra).argv[2:]
    ran = cluster.run(rendered("slurm", "one node", "--x", *extra))["task0"]
    assert contains(ran, ["--x", *extra])
    assert set(words) - set(ran) <= {"--uds", "/run/kat.sock", words[words.index("--chat-template") + 1]}
    assert ran[-2:] == ["--port", "8000"]


@settings(max_examples=15, deadline=None)
@given(EXTRA)
def test_every_word_reaches_containers_and_ray(extra: list[str]) -> None:
    compose = documents(rendered("compose", "one node", "--x", *extra))[0]["services"]["vllm-0"]
    assert contains([expanded(word) for word in compose["command"]], ["--x", *extra])
    sets = next(part for part in documents(rendered("k8s", "one node", "--x", *extra)) if part["kind"] == "StatefulSet")
    container = sets["spec"]["template"]["spec"]["containers"][0]
    assert contains([expanded(word) for word in container["args"]], ["--x", *extra])
    serve = documents(rendered("ray", "one node", "--x", *extra))[0]["head_start_ray_commands"][-1]
    array = serve[serve.index("command=(") : serve.index("command+=(")]
    shown = subprocess.run(
        ["bash", "-c", f'{array}\nprintf "%s\\0" "${{command[@]}}"'], capture_output=True, check=True, timeout=20
    )
    assert contains(shown.stdout.decode().split("\0"), ["--x", *extra])


TEXTS = st.one_of(st.sampled_from([*ODD, "~", "null", "---", "...", "a:", ": b", "x\n y\n", "\nx", "x\n\n"]), WORDS)
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=3), TEXTS)
def test_what_is_written_as_yaml_reads_back_the_same(value: dict[str, Any], note: str) -> None:
    noted: dict[str, Value] = {key: Noted(item, note) for key, item in value.items()}
    assert (yaml.safe_load(document(noted, [note])) or {}) == value


def test_half_a_character_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="are no text; leave it out"):
        document({"a": "\udc80"})


@pytest.mark.parametrize(("kind", "shape"), RENDERED)
def test_no_secret_is_in_a_file_and_open_interfaces_say_why(kind: str, shape: str) -> None:
    text = rendered(kind, shape, endpoint=Endpoint(host="0.0.0.0", port=9, key=KEY))
    assert KEY not in text
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if "0.0.0.0" in line:
            assert any("# " in above for above in lines[at - 2 : at]) or "control paths" in text, line
    assert "--uds" not in text
    assert "/dialects/kat.jinja" in text
    assert str(Path.cwd()) not in text, "a path of this machine"


def value_of(words: Sequence[str], option: str) -> str | None:
    return next((value for name, value in pairwise(words) if name == option), None)


def test_the_nodes_of_a_copy_meet_at_its_first_one(cluster: Cluster) -> None:
    ran = cluster.run(rendered("slurm", "copies of two nodes"), nodes=4)
    tasks = [ran[f"task{number}"] for number in range(4)]
    assert [value_of(task, "--node-rank") for task in tasks] == ["0", "1", "0", "1"]
    assert [value_of(task, "--master-addr") for task in tasks] == ["node1", "node1", "node3", "node3"]
    assert [("--headless" in task, value_of(task, "--host")) for task in tasks] == [
        (False, "node1"), (True, None), (False, "node3"), (True, None)
    ]  # fmt: skip
    assert {value_of(task, "--nnodes") for task in tasks} == {"2"}


@pytest.mark.parametrize("shape", ["copies on a node", "copies on nodes", "copies of two nodes"])
def test_the_router_asks_just_the_copies(cluster: Cluster, shape: str) -> None:
    at = layout(SHAPES[shape])
    ran = cluster.run(rendered("slurm", shape), nodes=at.all_nodes, per_node=at.per_node)
    router = ran.pop("router")
    listening = {f"http://{value_of(task, '--host')}:{value_of(task, '--port')}" for task in ran.values()}
    urls = {word for word in router if word.startswith("http://")}
    assert urls == listening - {"http://None:None"}
    assert len(urls) == at.copies
    assert value_of(router, "--host") == "127.0.0.1"
    assert not any(KEY in word or "key" in word for word in router), "with a key of its own it would let anybody in"
    assert all(task[0] and task[0] == ran["task0"][0] for task in ran.values()), "one key for all, from the file"


def test_a_key_that_others_may_read_stops_the_job(cluster: Cluster) -> None:
    cluster.run(rendered("slurm", "one node"))
    file = cluster.folder / ".config/kat/serve.key"
    assert re.fullmatch(r"[0-9a-f]{64}", file.read_text())
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(AssertionError, match=r"others may read .*; run: chmod 600"):
        cluster.run(rendered("slurm", "one node"))


def test_gpus_of_copies_on_one_machine_do_not_overlap() -> None:
    services = documents(rendered("compose", "copies on a node"))[0]["services"]
    devices = [
        service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name, service in services.items()
        if name.startswith("vllm-")
    ]
    assert devices == [["0", "1"], ["2", "3"], ["4", "5"], ["6", "7"]]
    assert "--data-parallel-size" not in services["vllm-0"]["command"], "each copy is a server of its own"
    assert services["router"]["ports"] == ["127.0.0.1:8000:8000"]
    assert not any("ports" in service for name, service in services.items() if name != "router")


def test_only_the_router_and_labelled_pods_reach_a_server_in_kubernetes() -> None:
    parts = documents(rendered("k8s", "copies of two nodes"))
    policies = {part["metadata"]["name"]: part["spec"] for part in parts if part["kind"] == "NetworkPolicy"}
    labels = {
        name: [rule["from"][0]["podSelector"]["matchLabels"] for rule in spec["ingress"]]
        for name, spec in policies.items()
    }
    assert labels == {
        "some-kat-40b-copy": [{"app": "some-kat-40b-router"}, {"app": "some-kat-40b-copy"}],
        "some-kat-40b-router": [{"kat-client": "true"}],
    }
    group = next(part for part in parts if part["kind"] == "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    leader, worker = (group[f"{role}Template"]["spec"]["containers"][0] for role in ("leader", "worker"))
    assert group["size"] == 2
    assert "--headless" in worker["args"]
    assert not any("KEY" in variable["name"] for variable in worker["env"]), "a worker answers nobody"
    secret = next(variable for variable in leader["env"] if variable["name"] == "VLLM_API_KEY")
    assert secret["valueFrom"] == {"secretKeyRef": {"name": "kat-serve", "key": "api-key"}}


@pytest.mark.parametrize(
    ("kind", "plan", "words"),
    [
        ("swarm", plan_of(), "no file is written for 'swarm'; choose slurm, ray, k8s, compose"),
        ("compose", plan_of(2), "runs on one machine and this takes 2"),
        ("ray", plan_of(4, pipeline=2), "are started apart; use --for slurm or --for k8s"),
        (
            "k8s",
            replace(plan_of(), runner=Runner.VLLM_CPU),
            "for vLLM on GPUs; name those of a node, as in --gpu h100:8",
        ),
        ("slurm", plan_of(2, gpus=4), "do not divide over nodes with 4 GPUs"),
        ("slurm", plan_of(2, gpus=8, tensor=3, pipeline=3), "do not divide over nodes"),
        ("k8s", planned(CATALOG["KAT-V1-40B"], asked_machine("mi300x:2")), "run kat serve on the machine"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_sentence(kind: str, plan: Plan, words: str) -> None:
    with pytest.raises(NoFile, match=re.escape(words)):
        render(kind, plan, launch_of(plan), version="1")


def test_the_volume_has_room_for_weights_as_they_are_published() -> None:
    plan = planned(CATALOG["KAT-V1-40B"], asked_machine("h100:1"))
    volume = documents(render("k8s", plan, launch_of(plan), version="1"))[0]
    assert plan.quantization == "fp8"
    assert volume["spec"]["resources"]["requests"]["storage"] == "99Gi"


def test_adapters_are_loaded_at_run_time_only_where_nobody_else_comes() -> None:
    def loads(kind: str, plan: Plan) -> bool:
        plan = replace(plan, adapters=("mine=/adapters/mine",))
        text = render(kind, plan, launch_of(plan), version="1")
        assert "mine=/adapters/mine" in text
        return "RUNTIME_LORA" in text

    assert loads("slurm", plan_of())
    assert not loads("slurm", plan_of(3))
    assert not loads("k8s", plan_of())


def test_a_template_that_the_user_names_wins() -> None:
    text = rendered("compose", "one node", "--chat-template", "/mine.jinja")
    assert text.count("--chat-template") == 2, "the option, and the note of what was asked"
    assert "kat.jinja" not in text


def test_options_that_are_added_are_options_of_vllm() -> None:
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed here")
    folder = Path(found.origin).parent
    source = (folder / "engine/arg_utils.py").read_text() + (folder / "entrypoints/launchers/cli_args.py").read_text()
    options = {word for text in (rendered(*pair) for pair in RENDERED) for word in re.findall(r"--[a-z][a-z-]+", text)}
    added = {"--nnodes", "--node-rank", "--master-addr", "--master-port", "--headless", "--data-parallel-size-local"}
    added |= {"--data-parallel-backend", "--distributed-executor-backend"}
    assert added <= options
    missing = [option for option in added if f'"{option}"' not in source]
    assert [option for option in missing if option.strip("-").replace("-", "_") not in source] == []


# What follows needs the tools' own parsers and schemas; each is in the extra `dev` or says that it was not there.


@pytest.mark.parametrize("shape", SHAPES)
def test_shellcheck_finds_nothing_in_a_batch_script(shape: str, tmp_path: Path) -> None:
    tool = _tool("shellcheck")
    script = tmp_path / "job.sh"
    script.write_text(rendered("slurm", shape))
    done = subprocess.run(
        [tool, "--severity=info", str(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == ""


_SBATCH = frozenset({"job-name", "nodes", "ntasks-per-node", "gpus-per-node", "time", "output", "signal", "exclusive"})
"""Options of sbatch that a script may use, as its manual of Slurm 24.05 lists them."""


@pytest.mark.parametrize("shape", SHAPES)
def test_directives_come_first_and_are_options_of_sbatch(shape: str) -> None:
    first, *lines = rendered("slurm", shape).splitlines()
    directives = [line for line in lines if line.startswith("#SBATCH ")]
    assert first == "#!/bin/bash"
    assert lines[: len(directives)] == directives
    assert {re.split("[ =]", line.removeprefix("#SBATCH --"))[0] for line in directives} <= _SBATCH


@pytest.mark.parametrize("shape", ONE_MACHINE)
def test_compose_files_follow_the_schema_of_compose(shape: str) -> None:
    schema = _data("check_jsonschema", "builtin_schemas/vendor/compose-spec.json")
    _validate(documents(rendered("compose", shape))[0], schema)


@pytest.mark.parametrize("shape", [shape for kind, shape in RENDERED if kind is Kind.RAY])
def test_cluster_files_follow_the_schema_of_ray(shape: str) -> None:
    schema = _data("ray", "autoscaler/ray-schema.json")
    _validate(documents(rendered("ray", shape))[0], schema)


@pytest.mark.parametrize("shape", SHAPES)
def test_manifests_follow_the_schemas_of_kubernetes(shape: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed here")
    for part in documents(rendered("k8s", shape)):
        for plain in _pods_of(part) if part["kind"] == "LeaderWorkerSet" else [part]:
            validator.validate(plain, "1.32", strict=True)


def _pods_of(group: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods of a LeaderWorkerSet, whose own schema comes with its controller, as templates of Kubernetes itself."""
    template = group["spec"]["leaderWorkerTemplate"]
    assert set(template) == {"size", "restartPolicy", "leaderTemplate", "workerTemplate"}
    pods = (template[f"{role}Template"] for role in ("leader", "worker"))
    return [{"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": pod} for pod in pods]


def _tool(name: str) -> str:
    from shutil import which

    found = which(name, path=f"{Path(os.sys.executable).parent}:{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed here")


def _data(package: str, path: str) -> dict[str, Any]:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package}, which has the schema, is not installed here")
    return dict(json.loads((Path(found.origin).parent / path).read_text()))


def _validate(value: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed here")
    jsonschema.validators.validator_for(schema)(schema).validate(value)
