import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine import EngineUnreachable
from model.engines.scripted import ScriptedServer
from model.pull import PullError
from model.select import open_engine
from model.serving.plan import Endpoint, Launch, Runner
from model.serving.starting.endpoints import BadEndpoint, Place, endpoint_for, prepare
from model.serving.supervision import running as state
from model.serving.supervision.keeping import FAILED, failure, kept, stop
from model.serving.supervision.processes import born_at
from model.serving.supervision.running import READY, AlreadyClaimed, Running
from model.serving.supervision.supervise import Crashed, GaveUp, Policy, Ready, Supervisor

FAKE = Path(__file__).with_name("fake_server.py")
QUICK = Policy(backoff=0.01, crashes=2, grace=0.3, poll=0.01, check=0.01)

KEEPER = """
import asyncio, os, signal, sys
from pathlib import Path
from model.serving.supervision import running as state
from model.serving.supervision.keeping import kept
from model.serving.plan import Endpoint, Launch, Runner
from model.serving.supervision.supervise import Supervisor

async def main(place, fake):
    endpoint = Endpoint(socket=place / "s.sock")
    launch = Launch((sys.executable, "-I", "-S", fake, str(endpoint.socket)), {}, endpoint)
    first = state.Running("fake", "fake", "kat", Runner.LLAMA, endpoint, os.getpid(), place / "log", 5.0)
    with state.claimed(place, "fake"):
        async with Supervisor(launch, place / "log") as supervisor:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, supervisor.stop)
            async for event in kept(supervisor, place, first):
                print(type(event).__name__, flush=True)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.fixture
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")
    folder.chmod(0o700)
    return folder


def server(place, **more):
    endpoint = Endpoint(socket=place / "s.sock")
    mine = {"name": "fake", "model": "fake", "dialect": "kat", "runner": Runner.LLAMA, "endpoint": endpoint}
    return Running(**{**mine, "supervisor": os.getpid(), "log": place / "log", "started": 5.0, **more})


def alive(**more):
    return {"pid": os.getpid(), "born": born_at(os.getpid()), "stage": READY, **more}


def test_state_is_kept_whole_and_private(place):
    found = server(place, **alive(adapters=("a=/b",), context=8192), endpoint=Endpoint(port=1234, key="secret"))
    state.write(place, found)
    assert state.read(place, "fake") == found
    assert (place / "fake.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in place.iterdir()] == ["fake.json"]
    assert "secret" not in repr(found)
    assert state.servers(place) == [found]
    state.forget(place, "fake")
    assert state.servers(place) == []


def test_only_servers_that_live_are_listed_the_latest_first(place):
    state.write(place, server(place, name="old", **alive()))
    state.write(place, server(place, name="new", started=9.0, **alive()))
    state.write(place, server(place, name="dead", pid=2**22 + 1))
    state.write(place, server(place, name="another", **alive(born=1)))
    (place / "broken.json").write_text('{"name": "broken"')
    with state.claimed(place, "starting"):
        state.write(place, server(place, name="starting", started=1.0))
        assert [one.name for one in state.servers(place)] == ["new", "old", "starting"]


@settings(max_examples=25)
@given(
    st.recursive(st.none() | st.text() | st.integers(), lambda each: st.dictionaries(st.text(), each) | st.lists(each))
)
def test_a_file_of_state_may_hold_anything(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    (folder / "any.json").write_text(json.dumps(data))
    assert state.servers(folder) == []


def test_one_process_at_a_time_looks_after_a_server(place):
    assert not state.is_supervised(place, "fake")
    with state.claimed(place, "fake"):
        assert state.is_supervised(place, "fake")
        with pytest.raises(AlreadyClaimed), state.claimed(place, "fake"):
            pass
        with state.claimed(place, "other"):
            pass
    assert not state.is_supervised(place, "fake")


async def test_the_state_follows_the_server(place):
    endpoint = Endpoint(socket=place / "s.sock")
    launch = Launch((sys.executable, "-I", "-S", str(FAKE), str(endpoint.socket)), {}, endpoint)
    stages = []
    async with Supervisor(launch, place / "log", policy=QUICK) as supervisor:
        async for event in kept(supervisor, place, server(place, born=None)):
            now = state.read(place, "fake")
            stages.append(now.stage.partition(":")[0])
            match event:
                case Ready():
                    assert state.is_alive(now)
                    assert now.ready >= time.time() - 60
                    os.kill(now.pid, signal.SIGKILL)
                case Crashed():
                    assert (now.restarts, now.pid) == (1, None)
                case GaveUp(reason):
                    assert failure(now) == reason
    order = [stage for stage, after in zip(stages, [*stages[1:], ""], strict=True) if stage != after]
    assert [stage for stage in order if stage in ("ready", "restarting", "failed")] == [
        "ready", "restarting", "ready", "failed",
    ]  # fmt: skip
    assert state.read(place, "fake").stage.startswith(FAILED), "why is still to be read"


async def test_a_stop_reaches_the_supervisor_and_an_orphan(place):
    command = [sys.executable, "-c", KEEPER, str(place), str(FAKE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        while process.stdout.readline().strip() != "Ready":
            assert process.poll() is None
        (found,) = state.servers(place)
        assert await stop(place, found, grace=5)
        assert process.wait(5) == 0
    assert not state.is_alive(found)
    assert state.servers(place) == []
    deaf = [sys.executable, "-I", "-S", str(FAKE), str(place / "s.sock"), "deaf"]
    with subprocess.Popen(deaf, process_group=0, stdout=subprocess.PIPE) as orphan:
        while b"KV cache" not in orphan.stdout.readline():
            assert orphan.poll() is None
        left = server(place, pid=orphan.pid, born=born_at(orphan.pid))
        state.write(place, left)
        assert await stop(place, left, grace=0.1)
        assert orphan.wait(5) == -signal.SIGKILL


def test_a_server_listens_where_only_the_user_is_let_in(tmp_path):
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert endpoint_for(Place(), "nano", environ) == Endpoint(socket=tmp_path / "kat" / "nano.sock")
    prepare(endpoint_for(Place(), "nano", environ))
    assert (tmp_path / "kat").stat().st_mode & 0o777 == 0o700
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    with pytest.raises(
        BadEndpoint,
        match="is open to others, and so would the server be; give --socket a path in a folder that only you",
    ):
        prepare(Endpoint(socket=open_to_all / "s.sock"))
    keys = {endpoint_for(Place(host="127.0.0.1", port=port), "nano", {}).key for port in (1234, None, None)}
    assert len(keys) == 3
    assert min(map(len, keys)) >= 43, "32 bytes in base 64"
    assert endpoint_for(Place(port=1234), "nano", {"KAT_API_KEY": "mine"}).key == "mine"


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (Place(socket=Path("/" + "x" * 200)), "is too long for a socket"),
        (Place(socket=Path("/tmp")), "is there already and is no socket"),
        (Place(socket=Path("/tmp/s"), port=1), "--socket goes without --host and --port"),
        (Place(host="192.0.2.1"), "cannot listen on 192.0.2.1"),
    ],
)
def test_a_place_that_cannot_be_is_refused(place, sentence):
    with pytest.raises(BadEndpoint, match=sentence):
        endpoint_for(place, "nano", {})


def test_an_address_is_one_of_this_machine_and_of_ipv6_in_brackets(tmp_path):
    with pytest.raises(BadEndpoint, match=r"cannot listen on 192\.0\.2\.1"):
        prepare(Endpoint(host="192.0.2.1", port=8011))
    with pytest.raises(BadEndpoint, match="no socket can be made in /dev/null"):
        prepare(Endpoint(socket=Path("/dev/null/s.sock")))
    assert endpoint_for(Place(host="[::1]", port=8011), "nano", {}).url == "http://[::1]:8011"


def test_a_state_that_cannot_be_written_leaves_nothing_behind(place):
    (place / "fake.json").mkdir()
    with pytest.raises(IsADirectoryError):
        state.write(place, server(place))
    assert [path.name for path in place.iterdir()] == ["fake.json"]


def test_a_port_that_is_taken_is_said_so():
    with ScriptedServer([]) as other, pytest.raises(BadEndpoint, match="is taken by another program"):
        prepare(Endpoint(port=int(other.url.rpartition(":")[2])))


async def test_a_server_of_ours_is_found_before_any_other_and_with_its_key(tmp_path):
    folder, environ = tmp_path / "servers", {"KAT_STATE": str(tmp_path)}
    with ScriptedServer([{"reply": "x", "times": 0}], api_key="sesame") as scripted:
        port = int(scripted.url.rpartition(":")[2])
        ours = server(tmp_path, **alive(), endpoint=Endpoint(port=port, key="sesame"), model=scripted.model)
        state.write(folder, ours)
        engine = await open_engine(None, environ=environ, candidates=())
        assert (await engine.info()).why == "`kat serve` runs fake on this machine"
        assert (await engine.info()).dialect == "kat"
        await engine.aclose()
        named = await open_engine(f"{scripted.url.replace('127.0.0.1', 'localhost')}/v1", environ=environ)
        assert (await named.info()).why == "you asked for it"
        await named.aclose()
        state.write(folder, replace(ours, stage="loading weights"))
        with pytest.raises(PullError, match="`kat serve` has fake at: loading weights"):
            await open_engine(None, environ={**environ, "KAT_CACHE": str(tmp_path)}, candidates=())
    state.write(folder, ours)
    with pytest.raises(EngineUnreachable):
        await open_engine(None, environ={**environ, "KAT_CACHE": str(tmp_path)}, candidates=(), probe_timeout=0.1)
