"""What happens before the agent is there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from assistant.agent import Agent
from tests.tui.fake import FakeAgent
from tui.app import KatApp, exit_status


async def test_the_first_paint_comes_before_the_agent_is_opened() -> None:
    happened: list[str] = []

    class Watched(KatApp):
        def post_display_hook(self) -> None:
            happened.append("paint")

    async def open_agent() -> Agent:
        happened.append("open")
        return FakeAgent([])

    app = Watched(open_agent, Path("/repository"), version="0")
    async with app.run_test() as pilot:
        await pilot.pause(0.2)
        assert happened.index("paint") < happened.index("open")


def test_importing_the_program_imports_nothing_heavy() -> None:
    code = (
        "import sys, tui.app; "
        "print([name for name in ('langgraph', 'torch', 'transformers', 'xllamacpp', 'markdown_it', 'jinja2') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Crashing(KatApp):
    """Breaks at a key."""

    def action_cycle_think(self) -> None:
        raise ZeroDivisionError


async def test_a_crash_is_an_exit_status() -> None:
    async def open_agent() -> Agent:
        return FakeAgent([])

    app = Crashing(open_agent, Path("/repository"), version="0")
    with pytest.raises(ZeroDivisionError):
        async with app.run_test() as pilot:
            await pilot.press("ctrl+t")
    assert exit_status(app) == 1


PROGRAM = """
import sys
from pathlib import Path
from tests.tui.fake import FakeAgent, opens
from tui.app import KatApp, exit_status

class Told(KatApp):
    async def ready_line(self):
        while not self.conversation.online:
            await asyncio.sleep(0.01)
        print("ready", file=sys.__stdout__, flush=True)

    def on_mount(self):
        super().on_mount()
        self.run_worker(self.ready_line(), group="told")

import asyncio
agent = FakeAgent([])
app = Told(opens(agent), Path("/repository"), version="0")
app.run(headless=True)
print("closed" if agent.closed else "open", file=sys.__stdout__, flush=True)
sys.exit(exit_status(app))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no such signals here")
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_it_in_order(name: str, status: int) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(getattr(signal, name))
        assert program.communicate(timeout=20)[0] == "closed\n"
        assert program.returncode == status
