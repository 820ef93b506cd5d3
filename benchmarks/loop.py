"""What a step costs besides model and tools, at step 10, 100 and 1,000 of one session, beside mini-swe-agent's loop.

Everything else counts: deciding, rendering the prompt, parsing the reply, LangGraph, permission, snapshots, the
journal with fsync, events. The model is played in this process, so that no server shares its cores; the seconds spent
inside its stream are taken off, and so are those that a step's record gives for its tools. What is inside the stream
is what any engine must do with the prompt as text, which grows with the session: it is shown on a line of its own.
Beside wall-clock time stands the CPU time of the process, tools that run inside it included, which a busy machine
disturbs less.

The same replies are played to mini-swe-agent (`DefaultAgent`, `LocalEnvironment`, its trajectory saved as its own
command saves it), each call as the shell command that does the same. KAT_MINI_PYTHON names the Python of an
environment that has it; else one is made with venv and pip.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

from assistant.config import Settings
from assistant.events import StepFinished, StepStarted
from assistant.opening import Place, open_pilot
from model.engine import Delta, EngineInfo, Finish, Sampling, Usage
from model.format import ThinkRequest
from model.prompt import Prompt

STEPS = 1_000
PLACES = (10, 100, STEPS)
WIDTH = 20
"""Steps around a place whose median counts."""
LINES = 1_500
EDITED = 10
"""Every so many steps a file is changed."""
CHUNK = 20
MINI = "mini-swe-agent==2.4.6"


@dataclass(frozen=True, slots=True)
class Course:
    """Milliseconds of each step without and with its tools, those of CPU, and bytes on disk behind some."""

    loop: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    disk: list[int] = field(default_factory=list)


def call(step: int) -> dict[str, object]:
    """The call of a step: it reads other lines each time, or changes a file."""
    if step % EDITED == 0:
        old, new = step // EDITED - 1, step // EDITED
        return {"name": "edit_file", "arguments": {"path": "count.py", "old": f"n = {old}\n", "new": f"n = {new}\n"}}
    return {"name": "read_file", "arguments": {"path": "long.py", "start_line": step, "end_line": step + 3}}


def command(step: int) -> str:
    """The same in the shell."""
    if step % EDITED == 0:
        return f"sed -i 's/^n = .*/n = {step // EDITED}/' count.py"
    return f"sed -n '{step},{step + 3}p' long.py"


def answer(step: int) -> str:
    """What the model says before its call."""
    return f"Step {step}. " + "I look at the file. " * 20


def reply(step: int) -> str:
    """The whole reply, in KAT's format."""
    head = f"Simple.\n</judge>\n\n<think_off>\n<answer>\n{answer(step)}\n</answer>\n"
    return f"{head}<tool_call>\n{json.dumps(call(step))}\n</tool_call>"


def repository(root: Path) -> Path:
    """A long file to read and a short one to change."""
    root.mkdir()
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (root / "long.py").write_text("".join(f"value_{n} = {n}\n" for n in range(LINES)))
    (root / "count.py").write_text("n = 0\n")
    return root


class Played:
    """An engine that plays the replies and counts the seconds spent inside it, and those for the prompt's text."""

    def __init__(self) -> None:
        self.step = 0
        self.seconds = self.cpu = 0.0
        self.texts: list[float] = []

    async def info(self) -> EngineInfo:
        """A model whose context never ends."""
        return EngineInfo("played", "played-kat-v1", "kat", 100_000_000)

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The next reply, in pieces."""
        start, cpu = time.perf_counter(), time.process_time()
        usage = Usage(len(prompt.text) // 4, 0, 100)
        self.texts.append(1000 * (time.perf_counter() - start))
        self.step += 1
        text = reply(self.step)
        pieces = [Delta(text[at : at + CHUNK], CHUNK // 4) for at in range(0, len(text), CHUNK)]
        self.seconds += time.perf_counter() - start
        self.cpu += time.process_time() - cpu
        for piece in pieces:
            yield piece
        yield Delta("", 0, Finish.STOP, usage)

    async def count(self, prompt: Prompt) -> int | None:
        """Unknown."""
        return None

    async def aclose(self) -> None:
        """Nothing to close."""


async def ours(folder: Path, steps: int) -> tuple[Course, list[float]]:
    """A session of so many steps, and the milliseconds for the text of each prompt."""
    environ = {"KAT_STATE": f"{folder}/state", "KAT_CONFIG": f"{folder}/config", "PATH": "/usr/bin:/bin"}
    engine, course = Played(), Course()
    place = Place(repository(folder / "ours"), environ=environ)
    settings = Settings(max_steps=steps)
    pilot = await open_pilot(place, engine, settings, allow=("all",), interactive=False)
    start = inside = cpu = 0.0
    async for event in pilot.run("Look at it again and again.", ThinkRequest.AUTO):
        if isinstance(event, StepStarted):
            start, inside, cpu = time.perf_counter(), engine.seconds, time.process_time() - engine.cpu
        elif isinstance(event, StepFinished):
            whole = time.perf_counter() - start - (engine.seconds - inside)
            course.whole.append(1000 * whole)
            course.loop.append(1000 * (whole - event.record.seconds.tools))
            course.cpu.append(1000 * (time.process_time() - engine.cpu - cpu))
            course.disk.append(_bytes(folder / "state") if len(course.loop) in PLACES else 0)
    await pilot.aclose()
    return course, engine.texts


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


_MINI_LOOP = """
import json, os, sys, time
os.environ["MSWEA_SILENT_STARTUP"] = "1"
from pathlib import Path
from minisweagent.agents.default import DefaultAgent
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models.test_models import DeterministicModel
plan, saved, places = json.load(open(sys.argv[1])), Path(sys.argv[2]), json.loads(sys.argv[4])
spent = {"tools": 0.0}

class Environment(LocalEnvironment):
    def execute(self, action, **kwargs):
        start = time.perf_counter()
        try:
            return super().execute(action, **kwargs)
        finally:
            spent["tools"] += time.perf_counter() - start

class Agent(DefaultAgent):
    def save(self, path, *extra):
        found = super().save(path, *extra)
        now = time.perf_counter()
        whole, tools = now - self.begun, spent["tools"]
        course["cpu"].append(1000 * (time.process_time() - self.cpu))
        course["whole"].append(1000 * whole)
        course["loop"].append(1000 * (whole - tools))
        course["disk"].append(path.stat().st_size if len(course["loop"]) in places else 0)
        spent["tools"], self.begun, self.cpu = 0.0, time.perf_counter(), time.process_time()
        return found

course = {"whole": [], "loop": [], "cpu": [], "disk": []}
outputs = [{"role": "assistant", "content": text, "extra": {"actions": [{"command": line}], "cost": 0.0}}
           for text, line in plan]
agent = Agent(DeterministicModel(outputs=outputs, cost_per_call=0.0), Environment(cwd=sys.argv[3]),
              system_template="You are a helpful assistant.", instance_template="{{task}}",
              step_limit=len(plan), cost_limit=0.0, output_path=saved)
agent.begun, agent.cpu = time.perf_counter(), time.process_time()
agent.run("Look at it again and again.")
json.dump(course, sys.stdout)
"""


def mini(python: str, folder: Path, steps: int) -> Course:
    """The same replies in mini-swe-agent's loop."""
    plan, root = folder / "plan.json", repository(folder / "mini")
    plan.write_text(json.dumps([(reply(step), command(step)) for step in range(1, steps + 1)]))
    arguments = [str(plan), str(folder / "trajectory.json"), str(root), json.dumps(PLACES)]
    environment = {**os.environ, "MSWEA_SILENT_STARTUP": "1", "MSWEA_GLOBAL_CONFIG_DIR": str(folder)}
    done = subprocess.run(
        [python, "-c", _MINI_LOOP, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"mini-swe-agent failed: {done.stderr[-1000:]}")
    return Course(**json.loads(done.stdout.splitlines()[-1]))


def mini_python(folder: Path) -> str:
    """The interpreter of an environment with mini-swe-agent, made here if none is named."""
    if named := os.environ.get("KAT_MINI_PYTHON"):
        return named
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv/bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", MINI], check=True)
    return python


def around(values: Sequence[float], place: int) -> float:
    """The median around a step, counted from 1."""
    return statistics.median(values[max(0, place - WIDTH // 2) : place + WIDTH // 2])


def show(name: str, course: Course) -> None:
    """What there is to say of one loop."""
    for title, values in (("without tools", course.loop), ("with tools", course.whole), ("CPU", course.cpu)):
        found = [around(values, place) for place in PLACES]
        shown = "".join(f"{value:10.2f}" for value in found)
        print(
            f"  {name:15} {title:18} ms{shown}   step {STEPS:,} against step {PLACES[0]}: × {found[-1] / found[0]:.2f}"
        )
    sizes = [course.disk[place - 1] for place in PLACES]
    each = [(b - a) / (q - p) for a, b, p, q in zip(sizes, sizes[1:], PLACES, PLACES[1:], strict=False)]
    print(
        f"  {name:15} bytes on disk per step: {each[0]:,.0f} from step 10 to 100, {each[1]:,.0f} from 100 to {STEPS:,}"
    )


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = mini_python(folder)
        theirs = mini(python, folder, STEPS)
        course, texts = asyncio.run(ours(folder, STEPS))
    print(f"a step without the model, median of {WIDTH} steps around step {PLACES}, {machine()}")
    show("kat", course)
    show(MINI.partition("==")[0], theirs)
    print(f"  the prompt as text, inside the engine: {[round(around(texts, place), 2) for place in PLACES]} ms")


if __name__ == "__main__":
    main()
