"""A bench whose runs of the tests are given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.fix.bench import Bench
from assistant.fix.changes import Changes
from assistant.testing.report import TestReport as Report

_NOTHING = Changes()


def report(words: str, seconds: float = 60.0) -> Report:
    """Ids that passed, and failed (`-`); a number is the exit code."""
    failed = tuple(word[1:] for word in words.split() if word[0] == "-")
    passed = tuple(word for word in words.split() if word[0] != "-" and not word.isdigit())
    code = next((int(word) for word in words.split() if word.isdigit()), int(bool(failed)))
    return Report("", code, passed, failed, "", False, seconds, True)


@dataclass(frozen=True, slots=True)
class Played(Bench):
    """A bench whose runs are given; `commands` are those that were run."""

    runs: list[str]
    commands: list[str | None]

    async def tests(
        self,
        changes: Changes = _NOTHING,
        *,
        command: str | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        show: Sequence[Path] = (),
        harvest: Callable[[Path], None] | None = None,
    ) -> Report:
        self.commands.append(command)
        return report(self.runs.pop(0))
