"""Which programs a shell command line would run, read from its syntax tree, or the admission that it cannot be told.

The grammar is not the shell: it accepts some lines that shells read otherwise. So whatever is unusual makes a line
unclear, and a line that is unclear asks. This decides about questions only; the sandbox is the boundary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from assistant.apart import APART
from assistant.safety.shell.words import UNKNOWN, Unclear, names, suspicious, unknown, word
from assistant.safety.shell.wrappers import BUILTINS_WITH_SUBSCRIPTS, unwrap
from assistant.workspace.languages import parser

if TYPE_CHECKING:
    from tree_sitter import Node

_LONGEST = 20_000
_DEEPEST = 6
_ODD = re.compile(r"[^\S \t\n]|[\x00-\x08\x0b-\x1f\x7f-\x9f]|[^ \t]\\\n|\A\\\n")
_RESERVED = names("! { } [[ ]] if then elif else fi for while until do done case esac in select function coproc")
_LOADED = names(
    "PATH IFS ENV BASH_ENV PS4 PROMPT_COMMAND SHELLOPTS BASHOPTS SHELL CDPATH PAGER EDITOR VISUAL BROWSER "
    "GIT_SSH GIT_SSH_COMMAND GIT_EXTERNAL_DIFF GIT_PAGER GIT_EDITOR GIT_SEQUENCE_EDITOR GIT_ASKPASS GIT_EXEC_PATH "
    "GIT_PROXY_COMMAND GIT_DIR GIT_TEMPLATE_DIR MAKEFLAGS MAKEFILES PYTHONSTARTUP PERL5OPT RUBYOPT NODE_OPTIONS"
)
_LOADED_PREFIXES = ("LD_", "DYLD_", "GIT_CONFIG", "BASH_FUNC_")
_WRITING = frozenset({">", ">>", ">|", "&>", "&>>", ">&", "<>"})
_PLAIN_OPERATORS = frozenset({":-", "-", ":+", "+", ":?", "?", "#", "##", "%", "%%"})
_TRUSTED_PLACES = ("/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/", "/usr/local/bin/")


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """One program that a line runs: its words, the files its redirections write, the variables set for it.

    A part of a word that only the shell can know (a variable, a glob, a substitution) is `words.UNKNOWN`. `argv` is
    empty where a line only writes files or sets variables.
    """

    argv: tuple[str, ...]
    writes: tuple[str, ...] = ()
    assigns: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        """The name of the program, without its folder; empty where there is none."""
        return self.argv[0].rpartition("/")[2] if self.argv else ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The commands of a line in their order, wrappers such as ``env`` taken off; `unclear` says why some may lack."""

    commands: tuple[ShellCommand, ...]
    unclear: str = ""

    @property
    def complete(self) -> bool:
        """Whether the line can run nothing but these commands."""
        return not self.unclear

    @property
    def writes(self) -> tuple[str, ...]:
        """The files that redirections write."""
        return tuple(target for command in self.commands for target in command.writes)


@lru_cache(maxsize=256)
def parse(line: str) -> Parsed:
    """The commands of a line for ``sh``. Never raises: what cannot be read makes the result incomplete."""
    if len(line) > _LONGEST:
        return Parsed((), "it is too long or too deeply nested")
    found = APART.call("shell", line)
    if found is None:
        return Parsed((), "it cannot be parsed")
    commands, unclear = found
    return Parsed(tuple(ShellCommand(*map(tuple, command)) for command in commands), unclear)


def parse_as_data(line: str) -> tuple[list[tuple[tuple[str, ...], ...]], str]:
    """The commands of a line as plain data, and why some may lack. Native code reads it, in this very process."""
    reading = _Reading()
    reading.line(line, 0)
    return [(command.argv, command.writes, command.assigns) for command in reading.commands], reading.unclear


@dataclass(slots=True)
class _Reading:
    commands: list[ShellCommand] = field(default_factory=list)
    unclear: str = ""

    def line(self, text: str, depth: int) -> None:
        """Add the commands of `text`."""
        if depth > _DEEPEST or len(text) > _LONGEST:
            return self._doubt("it is too long or too deeply nested")
        try:
            source = text.encode()
        except UnicodeEncodeError:
            return self._doubt("it is not Unicode")
        if _ODD.search(text):
            self._doubt("it has control characters, unusual spaces or a word over two lines")
        root = parser("bash").parse(source).root_node
        if root.has_error:
            self._doubt("it cannot be parsed")
        nodes = list(_walk(root))
        redirects = self._redirects(nodes)
        for node in nodes:
            self._node(node, redirects.get(node.id, ()), depth)
        return None

    def _doubt(self, why: str) -> None:
        self.unclear = self.unclear or why

    def _node(self, node: Node, writes: tuple[str, ...], depth: int) -> None:
        """Add what `node` itself runs, and doubt what shells read in different ways."""
        if doubt := suspicious(node) or _doubtful(node):
            self._doubt(doubt)
        match node.type:
            case "command":
                assigns = tuple(_text(child) for child in node.children if child.type == "variable_assignment")
                self._add(_arguments(node), assigns, writes, depth)
            case "declaration_command" | "unset_command" | "test_command":
                self._add(_builtin(node), (), writes, depth)
            case "variable_assignment" if node.parent is None or node.parent.type not in _ASSIGNING:
                self._add((), (_text(node),), writes, depth)
            case "redirected_statement" if node.id in {*_owners([node])} and writes:
                self.commands.append(ShellCommand((), writes))
            case _:
                pass

    def _add(self, argv: tuple[str, ...], assigns: tuple[str, ...], writes: tuple[str, ...], depth: int) -> None:
        """Add a command, or what it wraps; where that cannot be told, the command as it stands."""
        if any(_loaded(text) for text in assigns):
            self._doubt("it sets variables that change which programs run")
        try:
            self._resolve(argv, assigns, writes, depth)
        except Unclear as doubt:
            self._doubt(str(doubt))
            self.commands.append(ShellCommand(argv, writes, assigns))

    def _resolve(self, argv: tuple[str, ...], assigns: tuple[str, ...], writes: tuple[str, ...], depth: int) -> None:
        if depth > _DEEPEST:
            raise Unclear("it is too deeply nested")
        _check_program(argv)
        inner = unwrap(argv) if argv and _is_well_known(argv[0]) else None
        if inner is None:
            self.commands.append(ShellCommand(argv, (*writes, *_written_by(argv)), assigns))
            return
        if inner.keeps or writes:
            self.commands.append(ShellCommand(inner.shown, (*writes, *inner.writes), assigns))
        for wrapped in inner.commands:
            self._add(wrapped, (*assigns, *inner.assigns), (), depth + 1)
        for script in inner.scripts:
            self.line(script, depth + 1)

    def _redirects(self, nodes: Iterable[Node]) -> dict[int, tuple[str, ...]]:
        """What each node writes by redirection, by its id."""
        found: dict[int, tuple[str, ...]] = {}
        for node in nodes:
            if node.type != "file_redirect":
                continue
            targets = node.children_by_field_name("destination")
            if len(targets) > 1:
                self._doubt("words follow a redirection")
            if targets and (target := _target(node, targets[0])) is not None:
                (owner,) = _owners([node.parent]) if node.parent else (node.id,)
                found[owner] = (*found.get(owner, ()), target)
        return found


_ASSIGNING = frozenset({"command", "declaration_command"})
_NO_WORDS = frozenset({"variable_assignment", "file_redirect", "herestring_redirect", "heredoc_redirect", "comment"})


def _walk(root: Node) -> Iterator[Node]:
    """All nodes in the order of the text, without recursion: nesting has no bound."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(node.children)


def _owners(nodes: Iterable[Node]) -> Iterator[int]:
    """Which node a redirection in each of `nodes` belongs to: the command, if it is one, else the whole statement."""
    for node in nodes:
        body = node.child_by_field_name("body") if node.type == "redirected_statement" else None
        if node.type == "heredoc_redirect" and node.parent is not None:
            yield from _owners([node.parent])
        elif body is not None and body.type in {"command", "declaration_command", "unset_command", "test_command"}:
            yield body.id
        else:
            yield node.id


def _target(redirect: Node, destination: Node) -> str | None:
    """The file that a redirection writes; None where it writes none."""
    operator = next((child.type for child in redirect.children if child.type in _WRITING), None)
    target = word(destination)
    if operator is None or (operator == ">&" and (target.isdigit() or target == "-")):
        return None
    return target


def _arguments(node: Node) -> tuple[str, ...]:
    """The words of a command; by kind, since the names of the grammar's fields are not always there."""
    return tuple(word(child) for child in node.children if child.type not in _NO_WORDS)


def _builtin(node: Node) -> tuple[str, ...]:
    """The words of a builtin that the grammar knows by name."""
    first, *rest = node.children
    if node.type == "test_command":
        return (_text(first), UNKNOWN if "[" not in _text(node)[1:] else "a[", _text(node.children[-1]))
    plain = {"variable_name", "variable_assignment"}
    return (_text(first), *(_text(child) if child.type in plain else word(child) for child in rest))


def _check_program(argv: tuple[str, ...]) -> None:
    if not argv:
        return
    if unknown(argv[0]) or not argv[0]:
        raise Unclear("what it runs is known only when it runs")
    if argv[0] in _RESERVED:
        raise Unclear(f"it has {argv[0]!r} where a program should stand")
    if argv[0] in BUILTINS_WITH_SUBSCRIPTS and any("[" in argument for argument in argv[1:]):
        raise Unclear("an array's subscript can run commands")
    if argv[0] in {"export", "declare", "typeset", "readonly", "local"} and any(map(_loaded, argv[1:])):
        raise Unclear("it sets variables that change which programs run")


def _is_well_known(program: str) -> bool:
    """Whether a wrapper's name means that wrapper: a file of this name elsewhere may be anything."""
    return "/" not in program or any(program == place + program.rpartition("/")[2] for place in _TRUSTED_PLACES)


def _written_by(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Files that common programs write as an argument says."""
    if not argv or argv[0].rpartition("/")[2] != "tee":
        return ()
    return tuple(argument for argument in argv[1:] if not argument.startswith("-"))


def _loaded(assignment: str) -> bool:
    name = re.split(r"\+?=|\[", assignment, maxsplit=1)[0]
    return name in _LOADED or name.startswith(_LOADED_PREFIXES)


def _doubtful(node: Node) -> str:
    """Why a construct cannot be judged: because shells differ on it, or because it hides commands."""
    kinds = {child.type for child in node.children}
    match node.type:
        case "command_substitution" if re.match(r"\$\(\(|`.*\\", _text(node), re.DOTALL):
            return "shells read $(( and backslashes between backticks in different ways"
        case "function_definition":
            return "it defines a function"
        case "test_command" | "compound_statement" if kinds & {"[[", "(("}:
            return "shells read [[ and (( in different ways"
        case "c_style_for_statement" | "subscript" | "translated_string" | "array" | "herestring_redirect":
            return "not every shell reads it in the same way"
        case "arithmetic_expansion" if re.search(r"[^\d\s()+*/%-]", _text(node)[3:-2]) or not _text(node).startswith(
            "$(("
        ):
            return "arithmetic on variables can run commands"
        case "expansion" if not _plain_expansion(node):
            return "an expansion can run commands"
        case "extglob_pattern" if re.search(r"[(`$]", _text(node)):
            return "not every shell reads it in the same way"
        case "heredoc_redirect" if node.children_by_field_name("argument"):
            return "words follow a here-document"
        case "ansi_c_string" if b"\\" in (node.text or b""):
            return "shells read $'…' in different ways"
        case _:
            return ""


def _plain_expansion(node: Node) -> bool:
    operators = [_text(child) for number, child in enumerate(node.children) if _is_operator(node, number)]
    return all(operator in _PLAIN_OPERATORS for operator in operators) and "@" not in operators


def _is_operator(node: Node, number: int) -> bool:
    return node.field_name_for_child(number) == "operator" or node.children[number].type in {":", "!", "@", "^", ","}


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")
