"""Who may do what: rules the user gave, answers for this session, and nothing from the repository."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Literal

Action = Literal["allow", "ask", "deny"]
_SHELL = frozenset(";&|<>$`()\n")
_FORMS = "read, edit, command, command:PATTERN or all"


class Access(StrEnum):
    """What a call touches."""

    NONE = "none"
    READ = "read"
    EDIT = "edit"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Permission:
    """Leave that a call needs. `subject` is the path or the command line; an approval is for exactly this value.

    `contained` says that whatever it runs happens in the sandbox and cannot change the repository.
    """

    access: Access
    subject: str
    preview: str = ""
    preview_kind: Literal["diff", "command", "text"] = "text"
    contained: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a call, and the rule that said so; a denial names the flag that would allow it."""

    action: Action
    rule: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``--allow`` value. `pattern` is a glob for the whole command line, which must be one plain command."""

    text: str
    access: Access | None
    pattern: str | None = None

    def covers(self, permission: Permission) -> bool:
        """Whether this rule allows the call."""
        if self.access is not None and self.access is not permission.access:
            return False
        if self.pattern is None:
            return True
        return _SHELL.isdisjoint(permission.subject) and fnmatchcase(permission.subject, self.pattern)


def read_rule(text: str) -> Rule:
    """Read an ``--allow`` value. Raises ValueError with a sentence that lists the valid ones."""
    name, colon, pattern = text.partition(":")
    if name == "command" and colon and pattern:
        return Rule(text, Access.COMMAND, pattern)
    match text:
        case "all":
            return Rule(text, None)
        case "read" | "edit" | "command":
            return Rule(text, Access(text))
    raise ValueError(f"--allow does not know {text!r}; it takes {_FORMS}.")


class Permissions:
    """Judges calls. Reading is always allowed; commands are allowed where a sandbox keeps them from the repository."""

    def __init__(self, allow: Sequence[str] = (), *, interactive: bool, sandboxed: bool) -> None:
        self._rules = tuple(read_rule(text) for text in allow)
        self._interactive = interactive
        self._sandboxed = sandboxed
        self._edits = False
        self._commands: set[str] = set()

    def judge(self, permission: Permission) -> Verdict:
        """What becomes of a call that needs this leave."""
        if permission.access in (Access.NONE, Access.READ):
            return Verdict("allow", "reading is allowed")
        if permission.contained and self._sandboxed:
            return Verdict("allow", "runs in the sandbox and cannot change the repository")
        for rule in self._rules:
            if rule.covers(permission):
                return Verdict("allow", f"--allow {rule.text}")
        if self._remembered(permission):
            return Verdict("allow", "allowed for this session")
        if self._interactive:
            return Verdict("ask", f"{_doing(permission)} needs your leave")
        return Verdict("deny", f"--allow {permission.access.value}")

    def remember(self, permission: Permission) -> None:
        """Allow it for this session: every edit, or exactly this command line."""
        match permission.access:
            case Access.EDIT:
                self._edits = True
            case Access.COMMAND:
                self._commands.add(permission.subject)
            case _:
                pass

    def _remembered(self, permission: Permission) -> bool:
        if permission.access is Access.EDIT:
            return self._edits
        return permission.subject in self._commands


def _doing(permission: Permission) -> str:
    return "changing a file" if permission.access is Access.EDIT else "running a command"
