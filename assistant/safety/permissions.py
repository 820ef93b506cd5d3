"""Who may do what: rules the user gave, answers for this session, and nothing from the repository.

A call needs leave for what it touches: for an edit, for a command, for the network, for folders outside. A command
in a sandbox that undo can follow needs no question; what leaves the sandbox always does, and so do commands that
destroy what undo does not keep (`danger`) and lines whose programs cannot be told (`commands`).

A pattern covers a line if every command in it is covered, after wrappers such as ``env`` or ``sh -c`` are taken off;
``sudo`` and ``doas`` must be covered themselves beside what they run. Files that a line's redirections write need the
leave for edits too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from shlex import quote
from typing import Literal

from assistant.errors import UserError
from assistant.safety.rules import RuleFile, read_rule
from assistant.safety.shell.danger import destructive
from assistant.safety.shell.exact import Program
from assistant.safety.shell.parsing import Parsed, parse
from assistant.safety.shell.patterns import all_covered, patterns_for

Action = Literal["allow", "ask", "deny"]
_parsed = lru_cache(maxsize=64)(parse)


class Access(StrEnum):
    """What a call touches."""

    NONE = "none"
    READ = "read"
    EDIT = "edit"
    COMMAND = "command"
    NETWORK = "network"
    OUTSIDE = "outside"
    MCP = "mcp"


@dataclass(frozen=True, slots=True)
class Permission:
    """Leave that a call needs. An approval is for exactly this value, and is void as soon as a field differs.

    `subject` is the path, the command line, or `server/tool` for a tool of an MCP server. `contained` says that
    whatever it runs happens in the sandbox and cannot change the repository. A command names its `directory`, its
    `programs` as they are now, whether it reaches the `network`, the `folders` outside the repository that it may
    write, and the files that it `loses`, because they are named to be deleted or replaced and undo does not keep them.
    An edit names the digest of what it replaces.
    """

    access: Access
    subject: str
    preview: str = ""
    preview_kind: Literal["diff", "command", "text"] = "text"
    contained: bool = False
    directory: str = ""
    programs: tuple[Program, ...] = ()
    network: bool = False
    folders: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    replaces: str = ""

    @property
    def runs(self) -> bool:
        """Whether it runs a command line."""
        return self.access is Access.COMMAND or self.preview_kind == "command"

    @property
    def needs(self) -> tuple[Access, ...]:
        """Every kind of leave that it needs."""
        found = {self.access: None}
        found |= {Access.COMMAND: None} if self.runs else {}
        found |= {Access.NETWORK: None} if self.network else {}
        found |= {Access.OUTSIDE: None} if self.folders else {}
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a call, and the rule that said so; a denial names the flags that would allow it."""

    action: Action
    rule: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of an answer "always": whether its rule was kept, and a sentence about it."""

    ok: bool
    text: str


class Permissions:
    """Judges calls. Reading is always allowed; `undoable` says that undo brings back what commands change.

    `problem` is a sentence on why the kept rules do not count, or empty.

    Raises ValueError, with a sentence, for a rule that is none.
    """

    def __init__(
        self,
        allow: Sequence[str] = (),
        *,
        interactive: bool,
        sandboxed: bool,
        undoable: bool = False,
        kept: RuleFile | None = None,
    ) -> None:
        self._rules = [read_rule(text) for text in allow]
        self._interactive = interactive
        self._sandboxed = sandboxed
        self._undoable = undoable
        self._kept = kept
        self._edits = False
        self._exact: set[Permission] = set()
        self._called: set[str] = set()
        self.problem = self._load()

    @property
    def interactive(self) -> bool:
        """Whether somebody can be asked."""
        return self._interactive

    def judge(self, permission: Permission) -> Verdict:
        """What becomes of a call that needs this leave."""
        if permission.access in (Access.NONE, Access.READ):
            return Verdict("allow", "reading is allowed")
        if permission.contained:
            return Verdict("allow", "runs in the sandbox and cannot change the repository")
        if permission in self._exact:
            return Verdict("allow", "allowed for this session")
        leaves = {need: self._leave(need, permission) for need in permission.needs}
        missing = [need for need, leave in leaves.items() if not leave]
        if not missing:
            return Verdict("allow", next(iter(leaves.values())))
        if self._interactive:
            return Verdict("ask", "; ".join(dict.fromkeys(_doing(need, permission) for need in missing)))
        return Verdict("deny", " ".join(self._flags(missing, permission)))

    def remember(self, permission: Permission) -> None:
        """Allow it for this session: every edit, every call of this server's tool, or exactly this command."""
        match permission.access:
            case Access.EDIT:
                self._edits = True
            case Access.MCP:
                self._called.add(permission.subject)
            case Access.NONE | Access.READ:
                pass
            case _:
                self._exact.add(permission)

    def always(self, permission: Permission) -> str:
        """The rule that an answer "always" would keep; empty where none is safe to keep."""
        if self._kept is None or permission.network or permission.folders:
            return ""
        if permission.access is Access.EDIT:
            return "edit"
        if permission.access is Access.MCP:
            return f"mcp:{permission.subject}"
        if permission.access is not Access.COMMAND or _parsed(permission.subject).writes:
            return ""
        patterns = patterns_for(_parsed(permission.subject))
        return f"command:{patterns[0]}" if len(patterns) == 1 else ""

    def keep(self, permission: Permission) -> Kept:
        """Keep the rule that `always` names, for this repository; it counts from now on, even if it cannot be kept."""
        text = self.always(permission)
        if not text or self._kept is None:
            self.remember(permission)
            return Kept(False, "No rule is safe to keep for this; it is allowed for this session.")
        rule = read_rule(text)
        self._rules.append(rule)
        try:
            self._kept.keep(rule)
        except UserError as error:
            return Kept(False, f"Allowed for this session only: {error}.")
        return Kept(True, f"Always allowed in this repository: {text} (kept in {self._kept.path}).")

    def _load(self) -> str:
        """Take the kept rules; why they cannot be taken, in one sentence."""
        try:
            self._rules += self._kept.load() if self._kept else ()
        except UserError as error:
            return str(error)
        return ""

    def _leave(self, need: Access, permission: Permission) -> str:
        """Why `need` is met; empty if it is not."""
        for rule in self._rules:
            if rule.allows(need):
                return f"--allow {rule.text}"
        match need:
            case Access.EDIT if self._edits:
                return "allowed for this session"
            case Access.COMMAND:
                return self._leave_to_run(_parsed(permission.subject), undoable=self._undoable and not permission.loses)
            case Access.MCP:
                return self._leave_to_call(permission.subject)
            case _:
                return ""

    def _leave_to_call(self, subject: str) -> str:
        """Why a tool of an MCP server may be used; empty if it may not."""
        if subject in self._called:
            return "allowed for this session"
        covering = (subject, subject.partition("/")[0])
        return next((f"--allow {r.text}" for r in self._rules if r.access == "mcp" and r.pattern in covering), "")

    def _leave_to_run(self, parsed: Parsed, *, undoable: bool) -> str:
        if self._interactive and self._sandboxed and undoable and not _hazard(parsed):
            return "runs in the sandbox, and undo brings back what it changes"
        edits = not parsed.writes or self._edits or any(rule.allows(Access.EDIT) for rule in self._rules)
        used = [rule for rule in self._rules if rule.pattern and rule.access == Access.COMMAND]
        if edits and all_covered([rule.pattern for rule in used if rule.pattern], parsed):
            return " ".join(f"--allow {rule.text}" for rule in used)
        return ""

    def _flags(self, missing: Sequence[Access], permission: Permission) -> Iterator[str]:
        """The flags that would allow what is missing."""
        for need in missing:
            if need is Access.MCP:
                yield f"--allow mcp:{permission.subject}"
                continue
            if need is not Access.COMMAND:
                yield f"--allow {need.value}"
                continue
            parsed = _parsed(permission.subject)
            patterns = patterns_for(parsed)
            yield from (f"--allow command:{quote(pattern)}" for pattern in patterns)
            yield from () if patterns else ("--allow command",)
            yield from (
                ("--allow edit",) if patterns and parsed.writes and not self._leave(Access.EDIT, permission) else ()
            )


def _hazard(parsed: Parsed) -> str:
    """Why a line asks even in a sandbox with undo; empty if it does not."""
    if parsed.unclear:
        return f"what this command runs cannot be told, because {parsed.unclear}"
    if name := destructive(parsed):
        return f"undo may not bring back all that {name} destroys here"
    return ""


def _doing(need: Access, permission: Permission) -> str:
    match need:
        case Access.EDIT:
            return "changing a file needs your leave"
        case Access.NETWORK:
            return "reaching the network needs your leave"
        case Access.OUTSIDE:
            places = ", ".join(permission.folders)
            return f"writing outside the repository{f' ({places})' if places else ''} needs your leave"
        case Access.MCP:
            server, _, tool = permission.subject.partition("/")
            return f"using {tool} of the MCP server {server} needs your leave"
        case _ if permission.loses:
            return f"undo does not keep {', '.join(permission.loses)}, which this command deletes or replaces"
        case _:
            return _hazard(_parsed(permission.subject)) or "running a command needs your leave"
