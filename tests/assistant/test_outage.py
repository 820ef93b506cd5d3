"""An engine that goes away in the middle of a step, and comes back if a `kat serve` looks after it."""

import asyncio
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from assistant.events import Notice, RunStatus, SegmentText
from assistant.outage import RESTART_SECONDS, patience
from assistant.sessions.replay import events
from model.engines.scripted import ScriptedServer
from model.format import Segment
from model.serving.plan import Endpoint, Runner
from model.serving.supervision.running import Running, claimed, write
from tests.e2e.conftest import reply

WHOLE = reply("It is fixed, and here is a sentence more.")


@contextmanager
def supervised(folder: Path, url: str):
    """As while a `kat serve` looks after the server at `url`."""
    endpoint = Endpoint(port=int(url.rpartition(":")[2]))
    state = Running("nano", "m", "kat", Runner.LLAMA, endpoint, 1, folder / "log", time.time())
    write(folder, state)
    with claimed(folder, "nano"):
        yield


async def test_the_step_waits_for_the_restart_and_its_reply_goes_on(session, tmp_path):
    replacement = []

    def restart(event):
        if isinstance(event, Notice) and "went away" in event.text:
            s.server.stop()
            replacement.append(ScriptedServer([{"reply": WHOLE}, {"reply": reply("Next.")}], port=port))
            asyncio.get_running_loop().call_later(0.3, replacement[0].start)

    async with session({"reply": WHOLE, "cut_after": 70, "chunk": 5}) as s:
        port = int(s.server.url.rpartition(":")[2])
        with supervised(tmp_path / "state/servers", s.server.url):
            end = await s.say("go", on=restart)
        assert (end.status, len(s.steps), s.steps[0].cut) == (RunStatus.DONE, 1, None)
        said = "".join(event.text for event in s.of(SegmentText) if event.segment is Segment.ANSWER)
        assert said == "It is fixed, and here is a sentence more."
        assert [notice.text.split(" (")[0].split(" after")[0] for notice in s.of(Notice)] == [
            "The engine went away",
            "The engine answers again",
        ]
        kept = [record for record in s.journal if record["kind"] in ("lost", "reply")]
        assert [record["kind"] for record in kept] == ["lost", "reply"]
        assert kept[0]["written"] == WHOLE[:70]
        assert kept[1]["answer"] == said
        assert (await s.say("and now?")).status is RunStatus.DONE
        assert said in replacement[0].requests[-1]["prompt"]
        assert len(list(events(s.journal))) > 4
    replacement[0].stop()


async def test_the_user_may_stop_the_wait(session, tmp_path):
    def stop(event):
        if isinstance(event, Notice):
            s.pilot.stop()

    async with session({"reply": WHOLE, "cut_after": 70}) as s:
        with supervised(tmp_path / "state/servers", s.server.url):
            end = await s.say("go", on=stop)
        assert end.status is RunStatus.STOPPED
        assert any(record["kind"] == "reply" and record["answer"].startswith("It is fi") for record in s.journal)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("http://127.0.0.1:81", RESTART_SECONDS), ("http://localhost:81/v1", RESTART_SECONDS), ("http://127.0.0.1:82", 0)],
)
def test_only_a_server_that_somebody_looks_after_is_waited_for(tmp_path, asked, seconds):
    waits = patience(asked, tmp_path)
    assert waits() == 0
    with supervised(tmp_path, "http://127.0.0.1:81"):
        assert waits() == seconds
    assert waits() == 0
