"""CPU seconds until `kat` has painted its first screen, and of `kat --version`, beside bare imports, in one run.

The first paint ends the process: what is measured is everything up to it, and nothing behind it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import cpu_seconds, machine, medians, python

ROOT = Path(__file__).parents[1]
ROUNDS = 9
EXAMPLE = """
import subprocess, sys
subprocess.run(["git", "init", "-q", sys.argv[1]], check=True)
"""
FIRST_PAINT = """
import os, sys
sys.argv = ["kat", {repository!r}]
import assistant.cli
from textual.app import App
App.on_ready = lambda self: self.call_after_refresh(lambda: (sys.stdout.flush(), os._exit(0)))
assistant.cli.main()
"""


def main() -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as repository:
        cpu_seconds([sys.executable, "-c", EXAMPLE, repository])
        commands = {
            "python -c pass": python("pass"),
            "kat --version": python("import sys; sys.argv = ['kat', '--version']; import assistant.cli as c; c.main()"),
            "import textual (importtime)": [sys.executable, "-X", "importtime", "-c", "import textual"],
            "import textual.app": python("import textual.app"),
            "import langgraph.graph": python("import langgraph.graph"),
            "kat, first paint": python(FIRST_PAINT.format(repository=repository)),
        }
        result = medians(commands, ROUNDS)
    print(f"CPU seconds, median of {ROUNDS}, {machine()}")
    for name, seconds in result.items():
        print(f"  {name:30} {seconds:6.3f}")
    paint = result["kat, first paint"]
    print(f"first paint / import textual     {paint / result['import textual (importtime)']:5.2f}")
    print(f"first paint / import textual.app {paint / result['import textual.app']:5.2f}")


if __name__ == "__main__":
    main()
