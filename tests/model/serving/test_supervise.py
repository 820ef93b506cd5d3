import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.serving.adapters import load
from model.serving.plan import Endpoint, Launch
from model.serving.starting.endpoints import BadEndpoint
from model.serving.supervision.diagnosis import cause, telling
from model.serving.supervision.health import is_healthy, models
from model.serving.supervision.loaded import HasAdapters, LoadedAgain
from model.serving.supervision.logs import ServerLog
from model.serving.supervision.processes import group_lives
from model.serving.supervision.stages import NAMES, StageReader, Timings
from model.serving.supervision.supervise import Crashed, GaveUp, Policy, Progress, Ready, Started, Stopped, Supervisor
from tests.adapters import make_adapter

FAKE = Path(__file__).with_name("fake_server.py")
QUICK = Policy(backoff=0.01, crashes=3, grace=0.3, poll=0.01, check=0.01, silence=0.1)


@pytest.fixture
def place(tmp_path_factory):
    """A folder with a path short enough for sockets, that is the user's alone."""
    folder = tmp_path_factory.mktemp("s")
    folder.chmod(0o700)
    return folder


def launch(place, *how):
    endpoint = Endpoint(socket=place / "s.sock")
    return Launch((sys.executable, "-I", "-S", str(FAKE), str(endpoint.socket), *how), {}, endpoint)


def supervisor(place, *how, **more):
    return Supervisor(launch(place, *how), place / "log", policy=QUICK, **more)


async def ask(endpoint, path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(endpoint.socket))
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())


async def test_a_start_has_stages_and_an_estimate_and_a_stop_leaves_nothing(place):
    timings = Timings(place / "timings.json")
    seen = []
    for _ in range(2):
        async with supervisor(place, "parent", title="fake", timings=timings) as keeper:
            async for event in keeper.events():
                seen.append(event)
                if isinstance(event, Ready):
                    assert await models(Endpoint(socket=place / "s.sock")) == ["fake"]
                    keeper.stop()
        assert not group_lives(next(event.pid for event in seen[::-1] if isinstance(event, Started)))
        assert not (place / "s.sock").exists()
    assert isinstance(seen[-1], Stopped)
    estimates = [event.estimate for event in seen if isinstance(event, Progress)]
    assert estimates[0] is None
    assert estimates[-1] is not None
    assert (place / "log").stat().st_mode & 0o777 == 0o600
    log = (place / "log").read_text()
    assert "KV cache size: 46,592 tokens" in log
    assert log.startswith("kat: starting ")


async def test_a_server_that_dies_is_started_again_with_none_of_its_processes_left_and_not_for_ever(place):
    pids, ends = [], []
    async with supervisor(place, "parent") as keeper, aclosing(keeper.events()) as events:
        async for event in events:
            match event:
                case Started(pid):
                    assert not any(map(group_lives, pids)), "the child of the one that died"
                    pids.append(pid)
                case Ready() if len(pids) == 1:
                    os.kill(pids[0], signal.SIGKILL)
                case Ready():
                    await ask(Endpoint(socket=place / "s.sock"), "/die")
                case Crashed() | GaveUp():
                    ends.append(event)
    assert len(pids) == 3
    assert "signal 9" in ends[0].reason
    assert (ends[0].wait, ends[1].wait) == (0.01, 0.02)
    assert isinstance(ends[2], GaveUp)
    assert ends[2].reason.startswith("it died 3 times within 10 minutes; the last time the server says: RuntimeError")
    assert not group_lives(pids[-1])


async def test_what_never_was_ready_is_not_tried_again_and_a_known_line_becomes_a_sentence(place):
    line = (
        "fail:ValueError: To serve at least one request with the model's max seq len (131072), (40.0 GiB KV cache is "
    )
    line += "needed, which is larger than the available KV cache memory (9.0 GiB). Based on the available memory, the "
    line += "estimated maximum model length is 29184."
    async with supervisor(place, line) as keeper:
        seen = [event async for event in keeper.events() if not isinstance(event, Progress)]
    assert [type(event) for event in seen] == [Started, GaveUp]
    reason = "a context of 131072 tokens does not fit into the KV cache; ask for at most --context 29184"
    assert seen[1].reason == reason
    assert seen[1].lines[0].startswith("ValueError: To serve at least one")


async def test_a_program_that_is_not_there_is_said_so(place):
    keeper = Supervisor(Launch(("/no/such/vllm",), {}, Endpoint(socket=place / "s.sock")), place / "log")
    assert [event async for event in keeper.events()] == [
        GaveUp("/no/such/vllm cannot be started: No such file or directory", ())
    ]


async def test_one_that_ignores_sigterm_is_killed_after_its_grace_or_at_a_second_request(place):
    for hurry in (False, True):
        keeper = Supervisor(launch(place, "deaf"), place / "log", policy=Policy(grace=9 if hurry else 0.1, poll=0.01))
        async with keeper:
            began = 0.0
            async for event in keeper.events():
                if isinstance(event, Ready):
                    keeper.stop()
                    if hurry:
                        keeper.stop()
                    began = time.monotonic()
        assert time.monotonic() - began < 2


async def test_one_that_does_not_answer_any_more_is_started_again(place):
    kinds = []
    async with supervisor(place, "mute") as keeper, aclosing(keeper.events()) as events:
        async for event in events:
            if isinstance(event, Crashed):
                assert event.reason == "the server does not answer any more"
            kinds.append(type(event))
            if kinds.count(Ready) == 2:
                break
    assert [kind for kind in kinds if kind is not Progress] == [Started, Ready, Crashed, Started, Ready]


async def test_adapters_that_were_loaded_while_it_ran_are_loaded_again_where_they_can_be(place):
    folders = [make_adapter(place / name, layers=1, shapes={"q_proj": (4, 4)}) for name in ("one", "two")]
    address, told = f"unix:{place}/s.sock", []
    async with supervisor(place) as keeper, aclosing(keeper.events()) as events:
        async for event in events:
            told += [event] if isinstance(event, HasAdapters | LoadedAgain) else []
            match event:
                case Ready() if not told:
                    served = [(await load(address, None, folder.name, folder)).served for folder in folders]
                case HasAdapters(adapters) if len(adapters) == 2:
                    shutil.rmtree(folders[1])
                    await ask(Endpoint(socket=place / "s.sock"), "/die")
                case HasAdapters():
                    break
    both = tuple(f"{name}={folder}" for name, folder in zip(served, folders, strict=True))
    assert told[:2] == [HasAdapters(both), LoadedAgain(served[0])]
    assert told[2].adapter == served[1]
    assert told[2].reason.startswith(f"there is no adapter in {folders[1]}")
    assert told[3:] == [HasAdapters(both[:1])]


async def test_a_socket_of_a_dead_server_is_no_hindrance_and_one_of_a_living_server_is_not_taken(place):
    async with supervisor(place) as first, aclosing(first.events()) as events:
        async for event in events:
            if isinstance(event, Ready):
                with pytest.raises(BadEndpoint, match=r"another server listens on .*choose another path"):
                    await anext(supervisor(place).events())
                assert await is_healthy(Endpoint(socket=place / "s.sock"))
                break
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place / "s.sock"))
    async with supervisor(place) as second, aclosing(second.events()) as events:
        assert [event async for event in _until_ready(events)]


async def _until_ready(events):
    async for event in events:
        if isinstance(event, Ready):
            yield event
            return


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_server_whose_supervisor_was_killed_ends(place):
    script = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from model.serving.plan import Endpoint, Launch\n"
        "from model.serving.supervision.supervise import Started, Supervisor\n"
        "async def main(argv, folder):\n"
        "    launch = Launch(tuple(argv), {}, Endpoint(socket=Path(folder) / 's.sock'))\n"
        "    async for event in Supervisor(launch, Path(folder) / 'log').events():\n"
        "        if isinstance(event, Started): print(event.pid, flush=True)\n"
        "asyncio.run(main(sys.argv[2:], sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", script, str(place), *launch(place).argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        pid = int(process.stdout.readline())
        process.kill()
    end = time.monotonic() + 5
    while group_lives(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not group_lives(pid)


def test_stages_never_go_back(place):
    reader = StageReader()
    lines = [
        "(APIServer pid=1) INFO 11-22 [api_server.py:1] Using max model len 8192",
        "Fetching 12 files:  25%|██▌       | 3/12",
        "(EngineCore pid=2) INFO [gpu_model_runner.py:5040] Starting to load model X...",
        "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.00s/it]",
        "(EngineCore pid=2) INFO [kv_cache_utils.py:1] GPU KV cache size: 95,120 tokens",
        "Loading safetensors checkpoint shards: 100% Completed | 2/2 [00:01<00:01,  1.00s/it]",
        "nothing of interest",
        "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  40%|████      | 4/10",
        "(APIServer pid=1) INFO [entry.py:1] Starting vLLM server on unix:/x",
    ]
    found = [stage for line in lines if (stage := reader.read(line))]
    assert [(stage.name, stage.detail) for stage in found] == [
        ("reading the configuration", ""),
        ("downloading weights", "25%"),
        ("loading weights", ""),
        ("loading weights", "50%"),
        ("sizing the KV cache", "95,120 tokens"),
        ("capturing graphs", "40%"),
        ("opening the server", ""),
    ]
    assert [NAMES.index(stage.name) for stage in found] == sorted(NAMES.index(stage.name) for stage in found)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "ask for less with --context"),
        ("ValueError: Free memory on device cuda:0 (3.1/79.6 GiB) on startup is less", "only 3.1 of 79.6 GiB"),
        ("OSError: [Errno 98] Address already in use", "choose another one with --port or --socket"),
        ("ValueError: Model architectures ['FooForCausalLM'] are not supported for now.", "of the kind FooForCausalLM"),
        ("OSError: acme/x is not a local folder and is not a valid model identifier listed", "no model acme/x"),
        ("Invalid repository ID or local directory specified: '/models/none'.", "no model /models/none"),
        ("ValueError: User-specified max_model_len (9) is greater than the derived max_model_len (m=4)", "at most 4"),
        ("api_server.py: error: unrecognized arguments: --foo", "vLLM does not take --foo"),
        ("KeyError: 'invalid reasoning parser: kat (chose from { x })'", "pip install kat-pilot"),
        ("kat: ERROR /m.gguf cannot be loaded: bad magic", "/m.gguf cannot be loaded: bad magic"),
        ("kat: KAT-V1-40B does not fit 1 × L4", "KAT-V1-40B does not fit 1 × L4"),
        ("bash: line 1: kat: command not found", "install KAT Pilot there"),
        (
            "ssh: connect to host x port 22: Connection refused",
            "ssh says: connect to host x port 22: Connection refused",
        ),
        ("me@x: Permission denied (publickey).", "make `ssh HOST true` work first"),
        (
            "(EngineCore pid=1) ERROR [core.py:1] ZeroDivisionError: division by zero",
            "says: ZeroDivisionError: division",
        ),
    ],
)
def test_known_lines_say_what_to_change(line, words):
    noise = ["INFO all is well", "RuntimeError: Engine core initialization failed. See root cause above."]
    assert words in cause([noise[0], line, noise[1]], 1)


@given(st.lists(st.text(), max_size=5), st.one_of(st.none(), st.integers(-64, 255)))
def test_any_log_gives_one_sentence(lines, code):
    assert cause(lines, code)
    assert len(telling(lines)) <= 8


def test_a_long_log_is_moved_aside_while_the_server_writes_on(tmp_path):
    log = ServerLog(tmp_path / "log", limit=1_000)
    with log.begin("a start") as file:
        file.write(b"x" * 2_000 + b"\n")
        assert log.new() == ["x" * 2_000]
        log.trim()
        file.write("naïve\rüber\nhalf".encode())
        assert log.new() == ["naïve", "über"]
        file.write(b" done\n")
        assert log.new() == ["half done"]
    assert (tmp_path / "log").stat().st_size < 100
    assert len((tmp_path / "log.1").read_text()) > 2_000
    assert (tmp_path / "log.1").stat().st_mode & 0o777 == 0o600


def test_where_there_is_no_room_for_the_old_log_the_server_goes_on_without_it(tmp_path):
    log = ServerLog(tmp_path / "log", limit=100)
    with log.begin("a start") as file:
        file.write(b"x" * 200)
        (tmp_path / "log.1").symlink_to("/dev/full")
        log.trim()
        file.write(b"more\n")
    assert log.new() == ["x" * 200 + "more"]
    assert (tmp_path / "log").read_text() == "more\n"


async def test_starts_that_fail_one_after_the_other_end_however_long_each_takes(place):
    policy = Policy(backoff=0.01, crashes=3, within=0.0, grace=0.3, poll=0.01, check=0.01)
    (place / "s").mkdir(mode=0o700)
    endpoint = Endpoint(socket=place / "s" / "s.sock")
    once = f"[ -e {place}/was ] && exit 7; touch {place}/was; exec {sys.executable} -IS {FAKE} {endpoint.socket}"
    keeper = Supervisor(Launch(("sh", "-c", once), {}, endpoint), place / "log", policy=policy)
    async with keeper, aclosing(keeper.events()) as events:
        async for event in events:
            if isinstance(event, Ready):
                await ask(endpoint, "/die")
            last = event
    assert isinstance(last, GaveUp)
    assert last.reason.startswith("it died 3 times since it was last ready")


def test_a_file_of_timings_that_is_nonsense_is_no_loss(tmp_path):
    (tmp_path / "timings.json").write_text("[1, 2]")
    timings = Timings(tmp_path / "timings.json")
    assert timings.last("x") is None
    timings.remember("x", 4.04)
    assert Timings(tmp_path / "timings.json").last("x") == 4.0
