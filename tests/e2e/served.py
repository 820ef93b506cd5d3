"""The small model behind the real `kat serve`, on a real vLLM on the CPU or on llama.cpp's server."""

import json
import os
import random
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.prefix import vllm_python
from model.serving.supervision import running
from tests.e2e.conftest import KAT, Outcome, environment
from tests.e2e.forking import Forks

PATIENCE = 240.0
"""Seconds that the first start may take, the conversion of the weights included."""
CONTEXT = 32_768
"""Four times what the model was trained on: what it makes of it does not matter, how the server works with it does."""

USERS = CONTEXT // 8_192
"""Contexts of the model that the cache has room for, so that one of `CONTEXT` tokens fits."""

IN_ENGINE = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
"""The model in the engine's process, as on one GPU, and in one thread.

In a process of its own, as vLLM has it on a CPU, it imports all once more, and each of the two waits for the other by
asking without a pause, which takes the cores from the tests beside it.
"""


@dataclass(frozen=True)
class Served:
    """A server of ours: its address, the `kat serve` that looks after it, and the command with the same settings."""

    address: str
    home: Path
    supervisor: subprocess.Popen
    environ: dict[str, str]
    forks: Forks

    def kat(self, *arguments, timeout=120):
        """Run `kat` where this server is the one that is served."""
        return Outcome(*self.forks.run([*map(str, arguments)], self.environ, "", timeout))

    @property
    def state(self):
        """What `kat serve` keeps of it now."""
        (found,) = running.servers(self.home / "state/servers")
        return found

    def log(self):
        """All that was written."""
        return "".join(path.read_text("utf-8", "replace") for path in sorted(self.home.rglob("*.log")))


@contextmanager
def served_nano(forks):
    """`kat serve nano` with vLLM, ready; skips where there is none."""
    python = vllm_python()
    if python is None:
        pytest.skip("no vLLM here: pip install 'kat-pilot[serve-cpu]', or name its Python in KAT_VLLM_PYTHON")
    quick = {"KAT_VLLM_QUICK": "1", "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1", "KAT_VLLM_PYTHON": python, **IN_ENGINE}
    # The model writes KAT's format only if it is held to it, and vLLM would otherwise wait for the thought's end.
    held = json.dumps({"enable_in_reasoning": True})
    more = ["--max-model-len", str(CONTEXT), "--structured-outputs-config", held]
    with served_by(forks, "vllm", *more, **quick) as served:
        yield served


@contextmanager
def served_by(forks, runner, *more, **extra):
    """`kat serve nano` with this runner, ready; `more` are arguments for the runner."""
    with tempfile.TemporaryDirectory(prefix="kat", ignore_cleanup_errors=True) as name:
        home = Path(name)
        socket, environ = home / "s.sock", environment(home, **extra)
        command = [*KAT, "serve", "nano", "--runner", runner, "--socket", str(socket), "--users", str(USERS)]
        command += ["--", *more] if more else []
        # On one core llama.cpp makes one thread; two wait long for each other where other tests run as well.
        place = {"preexec_fn": _on_one_core} if runner == "llama" else {}
        log = (home / "serve.log").open("wb")
        with log, subprocess.Popen(command, env=environ, stdout=log, stderr=log, **place) as supervisor:
            served = Served(f"unix:{socket}", home, supervisor, environ, forks)
            try:
                _until_ready(served)
                yield served
            finally:
                supervisor.terminate()
                supervisor.wait(60)


def _on_one_core():
    os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})


def _until_ready(served):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and served.supervisor.poll() is None:
        if any(one.is_ready for one in running.servers(served.home / "state/servers")):
            return
        time.sleep(0.2)
    pytest.fail(f"kat serve did not start it:\n{served.log()[-4000:]}")
