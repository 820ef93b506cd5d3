"""A session on the scripted server."""

from contextlib import asynccontextmanager

import pytest

from assistant.config import Settings
from assistant.events import ApprovalAsked, Decision, QuestionAsked, RunFinished, StepFinished
from assistant.opening import Place, open_pilot
from assistant.sessions import read
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import ThinkRequest
from tests.e2e.conftest import make_repository


class Session:
    """A pilot, what it said, and how approvals are answered."""

    def __init__(self, pilot, server, root):
        self.pilot, self.server, self.root = pilot, server, root
        self.events = []
        self.answers = []
        self.said = []

    async def say(self, text, think=ThinkRequest.AUTO, on=None):
        """Send a message; `on` is called with every event."""
        self.events = []
        async for event in self.pilot.run(text, think):
            self.events.append(event)
            if isinstance(event, ApprovalAsked) and self.answers:
                decision, *note = self.answers.pop(0)
                self.pilot.decide(event.id, decision, *note)
            if isinstance(event, QuestionAsked):
                self.pilot.answer(event.id, self.said.pop(0) if self.said else "Go on")
            if on:
                on(event)
        assert isinstance(self.events[-1], RunFinished)
        return self.events[-1]

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def steps(self):
        return [event.record for event in self.of(StepFinished)]

    @property
    def journal(self):
        (path,) = (self.root.parent / "state/sessions").glob("*.jsonl")
        return list(read(path))


@pytest.fixture
def session(tmp_path):
    """Opens a session: `async with session(line, …) as s`."""

    @asynccontextmanager
    async def start(*script, interactive=True, allow=(), context=131_072, **settings):
        root = make_repository(tmp_path / "repo", {"a.py": "x = 1\ny = 2\n", "b.py": "z = 3\n"})
        environ = {
            "KAT_STATE": str(tmp_path / "state"),
            "KAT_CONFIG": str(tmp_path / "config"),
            "PATH": "/usr/bin:/bin",
        }
        with ScriptedServer([*script], context=context) as server:
            engine = HttpEngine(server.url, dialect=settings.get("dialect"), retries=1, backoff=0.01)
            pilot = await open_pilot(
                Place(root, environ=environ), engine, Settings(**settings), allow=allow, interactive=interactive
            )
            try:
                yield Session(pilot, server, root)
            finally:
                await pilot.aclose()

    return start


YES, SESSION, NO = Decision.ONCE, Decision.SESSION, Decision.NO
