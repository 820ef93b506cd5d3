"""Rules about what needs no question: read from flags, and from the file in which the user keeps his own."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from assistant.workspace.atomic import replace_file

FILE = "rules.toml"
_PLAIN = ("read", "edit", "command", "network", "outside", "mcp", "all")
_FORMS = "read, edit, command, command:PATTERN, network, outside, mcp, mcp:SERVER, mcp:SERVER/TOOL or all"
_HEAD = "# What KAT Pilot may do without asking. A rule without a repository counts in all of them.\n"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as it is written. `access` is what it allows, None for everything; `pattern` narrows it.

    A pattern is for command lines, or names an MCP server or one of its tools as `server/tool`.
    """

    text: str
    access: str | None
    pattern: str | None = None

    def allows(self, access: str) -> bool:
        """Whether it allows all that needs this leave."""
        return self.pattern is None and self.access in (None, access)


@dataclass(frozen=True, slots=True)
class KeptRule:
    """A rule of the file, and the repository it is for; every one where `repository` is None."""

    rule: Rule
    repository: str | None = None


def read_rule(text: str) -> Rule:
    """Read a rule. Raises ValueError with a sentence that lists the valid ones."""
    name, colon, pattern = text.partition(":")
    if name == "command" and colon and pattern.strip():
        return Rule(text, "command", pattern)
    if name == "mcp" and colon and pattern.strip():
        return Rule(text, "mcp", pattern)
    if text in _PLAIN:
        return Rule(text, None if text == "all" else text)
    raise ValueError(f"--allow does not know {text!r}; it takes {_FORMS}.")


class RuleFile:
    """The file of kept rules, for work in one repository. A file that cannot be trusted counts as empty."""

    def __init__(self, directory: Path, repository: Path) -> None:
        self.path = directory / FILE
        self._repository = repository.resolve()

    def load(self) -> tuple[Rule, ...]:
        """The rules for this repository.

        Raises:
            UserError: the file is there and cannot be read, or others could have written it.
        """
        here = str(self._repository)
        return tuple(kept.rule for kept in self._read() if kept.repository in (None, here))

    def keep(self, rule: Rule) -> None:
        """Add a rule for this repository; the file is replaced whole, and only its owner may read it.

        Raises:
            UserError: the file cannot be read or written.
        """
        known, new = self._read(), KeptRule(rule, str(self._repository))
        if new in known:
            return
        text = _HEAD + "".join(map(_written, (*known, new)))
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(self.path.name, directory, text.encode(), 0o600)
            finally:
                os.close(directory)
        except (OSError, UnicodeEncodeError) as error:
            raise UserError(f"the rule was not kept, because {self.path} cannot be written: {error}") from error

    def _read(self) -> tuple[KeptRule, ...]:
        if self.path.resolve().is_relative_to(self._repository):
            raise UserError(f"{self.path} lies in the repository, so its rules do not count; set KAT_CONFIG elsewhere")
        try:
            with self.path.open("rb") as file:
                self._check(os.fstat(file.fileno()))
                entries = tomllib.loads(file.read().decode())
            return tuple(map(_kept, _tables(entries)))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path} cannot be read, so its rules do not count: {error}") from error

    def _check(self, info: os.stat_result) -> None:
        if info.st_uid not in (0, os.geteuid()) or stat.S_IMODE(info.st_mode) & 0o022:
            raise ValueError("others may write it; make it yours alone with chmod 600")


def _tables(entries: dict[str, Any]) -> Sequence[Any]:
    tables = entries.get("allow", [])
    if set(entries) - {"allow"} or not isinstance(tables, list):
        raise ValueError("it takes only [[allow]] tables")
    return tables


def _kept(table: Any) -> KeptRule:
    if not isinstance(table, dict) or set(table) - {"rule", "repository"} or not isinstance(table.get("rule"), str):
        raise ValueError("each [[allow]] has a rule, and may have a repository")
    repository = table.get("repository")
    if repository is not None and not (isinstance(repository, str) and Path(repository).is_absolute()):
        raise ValueError("a rule's repository is a whole path")
    return KeptRule(read_rule(table["rule"]), repository)


def _written(kept: KeptRule) -> str:
    lines = ["\n[[allow]]", f"rule = {_quoted(kept.rule.text)}"]
    lines += [f"repository = {_quoted(kept.repository)}"] if kept.repository is not None else []
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML string: JSON's, except that DEL is escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
