"""What happens before the agent is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from assistant.agent import Agent
from tests.tui.fake import FakeAgent
from tui.app import KatApp


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
