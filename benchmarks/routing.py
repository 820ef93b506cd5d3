"""How vllm-router spreads an agent's sessions over two copies of a model, by policy.

    pip install --no-deps vllm-router     # a Rust program; its Python dependencies are not needed for this

Sessions share a system prompt, as all sessions of an agent do, and send a longer prompt at every step. What a copy's
prefix cache is worth hangs on two things: the load is spread, and a session stays where its prefix is. The copies are
scripted servers, so only the router is real.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2

sys.path.insert(0, str(Path(__file__).parent))

from measure import machine

from model.dialects import dialect
from model.engine import Sampling
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import ThinkRequest
from model.prompt import Message
from model.serving.clusters.layout import ROUTER_POLICY
from model.serving.starting.endpoints import free_port

SESSIONS, STEPS = 16, 6
LINE = {"reply": "Plain.\n</judge>\n\n<think_off>\n<answer>\nIt is 4.\n</answer>", "times": 0, "delay": 0.05}
POLICIES: dict[str, Sequence[str]] = {
    "ours": ROUTER_POLICY,
    "its default": (),
    "consistent_hash": ("--policy", "consistent_hash"),
}
SYSTEM = Message("system", "You are a coding assistant. " + "A tool and what it does. " * 300)


@contextmanager
def router(urls: Sequence[str], policy: Sequence[str]) -> Iterator[str]:
    """A router before the copies; its address. Raises RuntimeError if it does not start."""
    port, metrics = free_port("127.0.0.1"), free_port("127.0.0.1")
    command = [sys.executable, "-m", "vllm_router.launch_router", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--prometheus-port", str(metrics), *policy, "--worker-urls", *urls]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(process, url)
            yield url
        finally:
            process.kill()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx2.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.1)
    raise RuntimeError("vllm-router did not start")


async def session(url: str, number: int) -> None:
    """One session: a prompt at each step that begins with the one before."""
    talk = [SYSTEM, Message("user", f"session {number}: {'do a thing ' * 50}")]
    engine = HttpEngine(url, model="kat-v1", dialect="kat")
    for step in range(STEPS):
        prompt = dialect("kat").render(talk, (), ThinkRequest.AUTO, "")
        async for _ in engine.stream(prompt, Sampling()):
            pass
        talk += [Message("assistant", "Done."), Message("user", f"step {step} of {number}: {'more words ' * 20}")]
    await engine.aclose()


async def play(url: str) -> None:
    """All sessions at once."""
    await asyncio.gather(*(session(url, number) for number in range(SESSIONS)))


def measured(policy: Sequence[str]) -> dict[str, object]:
    """Steps on each copy, and how many sessions stayed on one."""
    healthy = {"/health": lambda _: "ok"}
    with ExitStack() as stack:
        copies = [
            stack.enter_context(ScriptedServer([LINE], model="kat-v1", program="vllm", routes=healthy)) for _ in "ab"
        ]
        asyncio.run(play(stack.enter_context(router([copy.url for copy in copies], policy))))
    seen = [[re.search(r"session (\d+):", str(body["prompt"])) for body in copy.requests] for copy in copies]
    places = [{int(match[1]) for match in found if match} for found in seen]
    both = places[0] & places[1]
    return {"steps": [len(found) for found in seen], "stayed": SESSIONS - len(both), "sessions": SESSIONS}


def main() -> int:
    """Measure and print; without the router, say what is missing."""
    if importlib.util.find_spec("vllm_router") is None:
        print("skipped: there is no vllm-router here; run: pip install --no-deps vllm-router")
        return 0
    found = {name: measured(policy) for name, policy in POLICIES.items()}
    if "--json" in sys.argv:
        print(json.dumps(found))
        return 0
    print(f"{SESSIONS} sessions of {STEPS} steps over two copies behind vllm-router, {machine()}")
    for name, figures in found.items():
        print(f"  {name:16} steps on each copy {figures['steps']}, stayed on one {figures['stayed']} of {SESSIONS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
