"""Patterns for commands: what one covers, and which one an answer "always" may keep."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from fnmatch import fnmatchcase

from assistant.safety.shell.danger import destructive
from assistant.safety.shell.parsing import Parsed, ShellCommand
from assistant.safety.shell.words import UNKNOWN, names, unknown

_HARMLESS = frozenset({"echo", "true", "false", ":", "pwd"})
"""They need no pattern of their own: with literal words they do nothing but print."""

_SUBCOMMANDS = names(
    "git npm pnpm yarn cargo go pip pip3 uv poetry make gmake just docker podman kubectl dotnet bundle mvn gradle "
    "hatch tox nox brew apt apt-get rustup terraform"
)
_SCRIPT_RUNNERS = frozenset({"npm", "pnpm", "yarn"})
_RUNS_ANYTHING = names(
    "run exec x dlx create init shell env config bisect submodule filter-branch difftool mergetool clean compose "
    "publish login cp generate tool eval console"
)
_NEVER = names(
    "sh bash dash zsh ash ksh fish csh tcsh pwsh python pypy ipython perl ruby node nodejs deno bun php lua tclsh "
    "java awk gawk mawk nawk sed find fd xargs parallel env sudo doas su ssh scp sftp rsync curl wget nc ncat socat "
    "telnet ftp npx uvx pipx bunx tee dd rm rmdir mv cp ln install chmod chown chgrp kill killall pkill vi vim nvim "
    "nano emacs ed less more man ex gdb lldb strace ltrace tar zip unzip watch script flock trap eval exec export "
    "source osascript crontab at systemctl service mount umount busybox toybox docker-compose ansible expect screen "
    "tmux nohup setsid cd pushd popd set unset shopt read test [ declare typeset local readonly printf time timeout"
)
_MODULES = frozenset({"pytest", "unittest", "mypy", "ruff", "black", "tox", "nox", "coverage"})
_VERSION = re.compile(r"[\d.]+$")


def covers(pattern: str, command: ShellCommand) -> bool:
    """Whether a glob covers a command, its words and the variables set for it joined as a shell would quote them.

    A final ``*`` behind a letter or behind a space stands for arguments: ``git status*`` and ``git status *`` both
    cover ``git status`` and ``git status -s``, and neither covers ``git statusx``. What is not known of a word must be
    free in the pattern.
    """
    head = pattern[:-1].rstrip(" ")
    if pattern.endswith("*") and (head != pattern[:-1] or head[-1:].isalnum()):
        return all(fnmatchcase(f"{text} ", f"{head} *") for text in _texts(command))
    return all(fnmatchcase(text, pattern) for text in _texts(command))


def all_covered(patterns: Iterable[str], parsed: Parsed) -> bool:
    """Whether every command of a line is covered by one of the patterns; never where some may be hidden."""
    globs = tuple(patterns)
    working = [command for command in parsed.commands if not _harmless(command)]
    if not parsed.complete or not working:
        return False
    return all(any(covers(glob, command) for glob in globs) for command in working)


def patterns_for(parsed: Parsed) -> tuple[str, ...]:
    """Patterns that together cover a line and lines like it; none where no pattern would be safe to keep."""
    if not parsed.complete or destructive(parsed):
        return ()
    found = {_pattern(command): None for command in parsed.commands if not _harmless(command)}
    return () if "" in found else tuple(found)


def _texts(command: ShellCommand) -> tuple[str, str]:
    """The command with its unknown parts empty, and with something in their place that only ``*`` matches."""
    words = (*command.assigns, *command.argv)
    bare = [word.replace(UNKNOWN, "") for word in words]
    known = [word for word, whole in zip(bare, words, strict=True) if word or not unknown(whole)]
    filled = " ".join(_filled(word) for word in words)
    return shlex.join(known), filled


def _filled(word: str) -> str:
    return word.replace(UNKNOWN, "\0\0 \0\0") if unknown(word) else shlex.quote(word)


def _harmless(command: ShellCommand) -> bool:
    """Whether it does nothing; what its redirections write is judged apart."""
    if command.assigns:
        return False
    return not command.argv or command.argv[0] in _HARMLESS


def _pattern(command: ShellCommand) -> str:
    """A pattern for commands like this one; empty where its arguments could be anybody's code."""
    argv, program = command.argv, command.program
    if command.assigns or not argv or argv[0] != program:
        return ""
    if argv[1:2] == ("-m",) and _VERSION.sub("", program) == "python":
        return f"{program} -m {argv[2]} *" if len(argv) > 2 and argv[2] in _MODULES else ""
    if program in _NEVER or _VERSION.sub("", program) in _NEVER or not re.fullmatch(r"[\w.+-]+", program):
        return ""
    if program not in _SUBCOMMANDS:
        return f"{program} *"
    return _with_subcommand(argv)


def _with_subcommand(argv: tuple[str, ...]) -> str:
    if len(argv) == 1:
        return argv[0]
    words = argv[:3] if argv[0] in _SCRIPT_RUNNERS and argv[1] == "run" else argv[:2]
    plain = all(re.fullmatch(r"\w[\w:.+-]*", word) for word in words)
    if not plain or (len(words) == 2 and words[1] in _RUNS_ANYTHING):
        return ""
    return f"{' '.join(words)} *"
