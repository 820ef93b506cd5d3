"""Makes the pictures of the README from real runs: `python docs/pictures.py`.

`embedded.svg` is the embedded model answering about the example. `fix.svg` is the scripted server playing a large
model, so that the picture shows what the program does with one; the program is the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textual.pilot import Pilot as Hand

from assistant import __version__
from assistant.agent import Agent
from assistant.config import Settings
from assistant.opening import Place, open_pilot
from model.engine import Engine
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import ThinkRequest
from model.select import open_engine
from tui.app import KatApp

DOCS = Path(__file__).parent
WIDTH = 104
QUESTION = "Which test fails?"


def reply(judge: str, think: str | None, answer: str, *calls: tuple[str, dict[str, str]]) -> dict[str, str | float]:
    """A line of a script, in KAT's format."""
    thought = f"<think_on>\n<think>\n{think}\n</think>\n\n" if think else "<think_off>\n"
    text = f"{judge}\n</judge>\n\n{thought}<answer>\n{answer}\n</answer>"
    for name, arguments in calls:
        text += f"\n<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"
    return {"reply": text, "pause": 0.002}


OLD = '        if quantity > self.on_hand.get(item, 0):\n            raise OutOfStock(f"only {self.available'
NEW = OLD.replace("self.on_hand.get(item, 0)", "self.available(item)", 1)
SCRIPT = [
    reply(
        "Reading a file needs no thought.",
        None,
        "I read the code and run the tests.",
        ("read_file", {"path": "inventory/stock.py"}),
        ("run_tests", {}),
    ),
    reply(
        "A test fails for a reason that must be found first.",
        "reserve compares with on_hand, which does not shrink when something is reserved.\n"
        "available() takes both into account, so it is the number to compare with.",
        "`reserve` compares with everything **on hand**, not with what is still **available**:",
        ("edit_file", {"path": "inventory/stock.py", "old": OLD, "new": NEW}),
    ),
]


@contextmanager
def example() -> Iterator[Path]:
    """The example as a repository of its own."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "inventory"
        shutil.copytree(DOCS.parent / "examples/inventory", target)
        subprocess.run(["git", "init", "-q", str(target)], check=True)
        yield target


async def picture(name: str, engine: Engine, question: str, *, lines: int, until_asked: bool) -> None:
    """Ask in a real interface, and save what it shows."""
    with example() as repository:
        environ = {**os.environ, "KAT_STATE": str(repository.parent / "state")}

        async def open_agent() -> Agent:
            return await open_pilot(Place(repository, environ=environ), engine, Settings())

        app = KatApp(open_agent, Path("~/inventory"), think=ThinkRequest.AUTO, version=__version__)
        async with app.run_test(size=(WIDTH, lines)) as hand:
            await hand.press(*question, "enter")
            await _settled(app, hand, until_asked=until_asked)
            app.save_screenshot(f"{name}.svg", str(DOCS))


async def _settled(app: KatApp, hand: Hand[int], *, until_asked: bool) -> None:
    async with asyncio.timeout(300):
        while not app.conversation.running:
            await hand.pause(0.1)
        while app.conversation.running and not (until_asked and app.approval.asked):
            await hand.pause(0.1)
    await hand.pause(0.5)


async def main() -> None:
    """Both pictures."""
    await picture("embedded", await open_engine("embedded", environ=os.environ), QUESTION, lines=24, until_asked=False)
    with ScriptedServer(SCRIPT) as server:
        engine = HttpEngine(server.url)
        await picture("fix", engine, "The tests fail. Find out why and mend it.", lines=43, until_asked=True)


if __name__ == "__main__":
    asyncio.run(main())
