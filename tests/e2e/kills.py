"""A server of `kat serve` killed in the middle of a reply, and stopped: what must hold whoever runs the model."""

import asyncio
import json
import os
import signal
import time
from functools import partial

import pytest

from assistant.config import Settings
from assistant.events import Notice, RunStatus, SegmentText
from assistant.opening import Place, open_pilot
from assistant.sessions import read
from model.engines.http import HttpEngine
from model.format import ThinkRequest
from tests.e2e.conftest import make_repository

QUESTIONS = ("Tell me the names of fifty countries.", "List the numbers from 1 to 100, each on its own line.")
"""What the small model answers at length."""
PIECES = 6
"""Pieces of a reply that come before the kill."""


def server_of(served):
    """The process that answers."""
    return served.state.pid


def engine_of(served):
    """vLLM's process below it, which has the model."""
    psutil = pytest.importorskip("psutil")
    below = psutil.Process(served.state.pid).children(recursive=True)
    return next(each.pid for each in below if "EngineCore" in " ".join([each.name(), *each.cmdline()]))


async def check_kills(served, folder, victims):
    """One conversation; in each of its replies one process dies, and the reply goes on once it is back."""
    place = Place(make_repository(folder / "repo", {"a.py": "x = 1\n"}), environ=served.environ)
    settings = Settings(max_steps=1, max_tokens=40, temperature=0.0, profile="compact")
    pilot = await open_pilot(place, HttpEngine(served.address), settings, interactive=False)
    for number, victim in enumerate(victims):
        before = served.state.restarts
        pieces, notices, end = await killed_run(pilot, QUESTIONS[number], partial(victim, served))
        told = [text.split(" (")[0].split(" after")[0] for text in notices]
        assert told == ["The engine went away", "The engine answers again"], (notices, pieces)
        assert served.state.restarts == before + 1
        await looked_at(served)
        assert end.status in (RunStatus.DONE, RunStatus.LIMIT), end
        assert len(pieces) > PIECES
        check_journal(served, "".join(pieces))
    await pilot.aclose()


async def looked_at(served):
    """It answers, and soon its supervisor has seen that too."""
    async with asyncio.timeout(10):
        while not served.state.is_ready:
            await asyncio.sleep(0.1)


async def killed_run(pilot, text, victim):
    """What is said, the notices, and the end of a run in which a process is killed after some pieces."""
    pieces, notices, end = [], [], None
    async for event in pilot.run(text, ThinkRequest.OFF):
        match event:
            case SegmentText():
                pieces.append(event.text)
                if len(pieces) == PIECES:
                    os.kill(victim(), signal.SIGKILL)
            case Notice():
                notices.append(event.text)
        end = event
    return pieces, notices, end


def check_journal(served, said):
    """The part that had come is kept, and the reply is whole: what was said, once."""
    (path,) = (served.home / "state/sessions").glob("*.jsonl")
    records = list(read(path))
    last = max(number for number, record in enumerate(records) if record["kind"] == "user")
    (reply,) = [record for record in records[last:] if record["kind"] == "reply"]
    (lost,) = [record for record in records[last:] if record["kind"] == "lost"]
    part = lost["written"].rpartition("<answer>\n")[2]
    assert len(part) > PIECES
    assert said.startswith(part[:-5])
    assert reply["answer"].strip() == said.strip()
    assert reply["cut"] in (None, "the reply reached its limit of tokens")


def check_stop(served):
    """It is named, ended by one command, and nothing of it is left."""
    psutil = pytest.importorskip("psutil")
    state = served.state
    (row,) = json.loads(served.kat("serve", "status", "--json").out)
    assert row["address"] == served.address
    top = psutil.Process(state.pid)
    processes = [top, *top.children(recursive=True)]
    stopped = served.kat("serve", "stop")
    assert (stopped.code, stopped.out) == (0, f"{state.name} has ended\n")
    assert served.supervisor.wait(10) == 0
    time.sleep(0.2)
    assert [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    assert not (served.home / "s.sock").exists()
    assert json.loads(served.kat("serve", "status", "--json").out) == []
