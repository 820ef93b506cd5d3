"""Programs that run other programs: what stands behind ``env``, ``xargs``, ``sh -c``, ``find -exec`` and their like."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from assistant.safety.shell.words import UNKNOWN, Unclear, names, unknown

BUILTINS_WITH_SUBSCRIPTS = names(
    "[ test read unset export declare typeset readonly local printf mapfile readarray wait getopts"
)
"""Of bash; they evaluate what stands in an array's subscript."""

PRIVILEGED = frozenset({"sudo", "doas"})
"""These stay in the list of commands beside what they wrap, so that a rule must name them too."""

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ash", "ksh"})
_OPAQUE = names(
    ". source alias coproc let fc hash enable bind complete compgen su runuser pkexec chroot unshare nsenter bwrap at "
    "batch crontab systemd-run machinectl expect entr fish csh tcsh pwsh"
)
_GIT_HARMLESS = ("color.", "advice.", "user.", "core.quotepath=", "init.defaultbranch=", "diff.renames=")
_GIT_RUNNERS = frozenset({("bisect", "run"), ("submodule", "foreach"), ("filter-branch", ""), ("rebase", "-x")})


@dataclass(frozen=True, slots=True)
class Wrapped:
    """What a wrapper runs: commands as words, scripts for a shell. With `keeps` it counts as a command itself."""

    commands: tuple[tuple[str, ...], ...] = ()
    scripts: tuple[str, ...] = ()
    assigns: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a wrapper: letters and long names without a value, the same with one, and words before the program."""

    flags: str = ""
    valued: str = ""
    long_flags: frozenset[str] = frozenset()
    long_valued: frozenset[str] = frozenset()
    operands: int = 0

    def skip(self, argv: tuple[str, ...]) -> int:
        """Where the program stands in `argv`. Raises `Unclear` at an option that is not known."""
        at = 1
        while at < len(argv) and argv[at].startswith(("-", UNKNOWN)) and argv[at] not in ("-", "--"):
            at += self._width(argv[0], argv[at])
        return at + (at < len(argv) and argv[at] == "--") + self.operands

    def _width(self, program: str, option: str) -> int:
        """How many words an option takes."""
        name, equals, _ = option.partition("=")
        if name in self.long_flags or (name in self.long_valued and equals):
            return 1
        if name in self.long_valued:
            return 2
        for number, letter in enumerate(option[1:], 2):
            if letter in self.valued:
                return 1 if len(option) > number else 2
            if letter not in self.flags:
                raise Unclear(f"an option of {program} is not known here")
        return 1


def _options(flags: str = "", valued: str = "", *, operands: int = 0, long: str = "", longs: str = "") -> Options:
    return Options(flags, valued, names(long), names(longs), operands)


_PLAIN = {
    "nohup": _options(),
    "builtin": _options(),
    "busybox": _options(),
    "toybox": _options(),
    "exec": _options("cl", "a"),
    "time": _options("pvq", "f", long="--portability --verbose", longs="--format"),
    "timeout": _options(
        "v", "ks", operands=1, long="--foreground --preserve-status --verbose", longs="--kill-after --signal"
    ),
    "nice": _options("0123456789", "n", longs="--adjustment"),
    "ionice": _options("t", "cn", long="--ignore", longs="--class --classdata"),
    "stdbuf": _options("", "ioe", longs="--input --output --error"),
    "setsid": _options("cfw", long="--ctty --fork --wait"),
    "command": _options("p"),
}
_SUDO = _options(
    "AbEHknPS",
    "ughpCrtTUDR",
    long="--preserve-env --non-interactive --background --set-home --stdin --askpass --reset-timestamp",
    longs="--preserve-env --user --group --host --prompt --chdir --chroot --close-from",
)
_DOAS = _options("n", "u")
_ENV = _options("i0v", "uC", long="--ignore-environment --null --debug", longs="--unset --chdir")
_XARGS = _options(
    "0rtpxo",
    "nLPIadEs",
    long="--null --no-run-if-empty --verbose --interactive --exit --replace",
    longs="--max-args --max-lines --max-procs --replace --arg-file --delimiter --max-chars",
)
_WATCH = _options(
    "bcdegtwx",
    "nq",
    long="--beep --color --differences --errexit --chgexit --no-title --no-wrap --exec --precise",
    longs="--interval",
)
_PARALLEL = _options(
    "0kuvm",
    "jnNad",
    long="--will-cite --bar --no-notice --keep-order --ungroup --null --verbose --halt",
    longs="--jobs --halt --colsep --arg-file --delimiter --max-args",
)
_FLOCK = _options("sxunFo", "wE", operands=1, long="--shared --exclusive --unlock --nonblock", longs="--timeout")


def unwrap(argv: tuple[str, ...]) -> Wrapped | None:
    """What `argv` runs besides or instead of itself; None where it is a command like any other.

    Raises:
        Unclear: it runs something that cannot be told.
    """
    name = argv[0].rpartition("/")[2]
    if name in _OPAQUE:
        raise Unclear(f"what {name} runs cannot be told")
    if options := _PLAIN.get(name):
        return _plain(argv, options)
    if name in _SHELLS:
        return _shell(argv)
    special = _SPECIAL.get(name)
    return special(argv) if special else None


def _plain(argv: tuple[str, ...], options: Options) -> Wrapped | None:
    if argv[0] == "command" and len(argv) > 1 and argv[1].startswith("-") and set(argv[1]) & set("vV"):
        return None
    inner = argv[options.skip(argv) :]
    if argv[0] == "time":
        inner, assigns = _after_assignments(inner)
        return Wrapped((inner,), assigns=assigns)
    return Wrapped((inner,)) if inner else None


def _privileged(options: Options) -> Callable[[tuple[str, ...]], Wrapped | None]:
    def unwrapped(argv: tuple[str, ...]) -> Wrapped | None:
        inner, assigns = _after_assignments(argv[options.skip(argv) :])
        if not inner:
            raise Unclear(f"{argv[0]} opens a shell")
        return Wrapped((inner,), assigns=assigns, shown=argv[:1], keeps=True)

    return unwrapped


def _env(argv: tuple[str, ...]) -> Wrapped | None:
    for number, argument in enumerate(argv[1:], 1):
        if argument.startswith(("-S", "--split-string")):
            return _env_split(argv, number)
        if not argument.startswith("-") and not _ASSIGNMENT.match(argument):
            break
    start = _ENV.skip(argv)
    while start < len(argv) and argv[start] == "-":
        start += 1
    inner, assigns = _after_assignments(argv[start:])
    return Wrapped((inner,), assigns=assigns) if inner else None


def _env_split(argv: tuple[str, ...], number: int) -> Wrapped:
    """``env -S 'words in one'``: the words stand in place of the option."""
    option = argv[number]
    text = option[2:] if option.startswith("-S") else option.partition("=")[2]
    rest = argv[number + 1 :] if text else argv[number + 2 :]
    text = text or (argv[number + 1] if number + 1 < len(argv) else "")
    if unknown(text) or any(mark in text for mark in "\\$'\"#"):
        raise Unclear("the words of env -S cannot be told")
    return Wrapped((("env", *argv[1:number], *text.split(), *rest),))


def _after_assignments(words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    count = 0
    while count < len(words) and _ASSIGNMENT.match(words[count]):
        count += 1
    return words[count:], words[:count]


def _shell(argv: tuple[str, ...]) -> Wrapped | None:
    at, script = 1, False
    while at < len(argv) and argv[at].startswith(("-", "+")) and argv[at] not in ("-", "--"):
        if not set(argv[at][1:]) <= set("abcefhlmnuvxo"):
            raise Unclear(f"an option of {argv[0]} is not known here")
        script = script or "c" in argv[at][1:]
        at += 2 if argv[at].endswith("o") else 1
    at += at < len(argv) and argv[at] == "--"
    if at >= len(argv) or argv[at] == "-" or unknown(argv[at]):
        raise Unclear(f"what {argv[0]} runs is read when it runs")
    return Wrapped(scripts=(argv[at],)) if script else None


def _eval(argv: tuple[str, ...]) -> Wrapped | None:
    words = argv[2:] if argv[1:2] == ("--",) else argv[1:]
    if any(map(unknown, words)):
        raise Unclear("what eval runs is known only when it runs")
    return Wrapped(scripts=(" ".join(words),))


def _trap(argv: tuple[str, ...]) -> Wrapped | None:
    words = argv[2:] if argv[1:2] == ("--",) else argv[1:]
    if len(words) < 2 or words[0] in ("-", ""):
        return None
    if unknown(words[0]):
        raise Unclear("what trap runs is known only when it runs")
    return Wrapped(scripts=(words[0],))


def _xargs(argv: tuple[str, ...]) -> Wrapped | None:
    start = _XARGS.skip(argv)
    inner = argv[start:]
    if not inner:
        return None
    marks = {"{}"} | {option[2:] for option in argv[1:start] if option.startswith("-I") and option != "-I"}
    marks |= {argv[at + 1] for at, option in enumerate(argv[1:start], 1) if option == "-I"}
    marks |= {option.partition("=")[2] for option in argv[1:start] if option.startswith("--replace=")}
    filled = tuple(UNKNOWN if any(mark and mark in text for mark in marks) else text for text in inner)
    return Wrapped(((*filled, UNKNOWN),))


def _find(argv: tuple[str, ...]) -> Wrapped | None:
    if any(text.startswith(UNKNOWN) for text in argv[1:]):
        raise Unclear("an expression of find is known only when it runs")
    commands, writes, at = [], [], 1
    while at < len(argv):
        if argv[at] in ("-exec", "-execdir", "-ok", "-okdir"):
            end = next((n for n in range(at + 1, len(argv)) if argv[n] == ";" or argv[n - 1 : n + 1] == ("{}", "+")), 0)
            if not end:
                raise Unclear("the end of find -exec is missing")
            commands.append(tuple(UNKNOWN if "{}" in text else text for text in argv[at + 1 : end]))
            at = end
        elif argv[at] in ("-fprint", "-fprint0", "-fprintf", "-fls"):
            writes.append(argv[at + 1] if at + 1 < len(argv) else UNKNOWN)
        at += 1
    return Wrapped(tuple(commands), writes=tuple(writes), shown=argv, keeps=True)


def _watch(argv: tuple[str, ...]) -> Wrapped | None:
    start = _WATCH.skip(argv)
    if start >= len(argv):
        return None
    letters = "".join(text[1:] for text in argv[1:start] if not text.startswith("--"))
    if "x" in letters or "--exec" in argv[1:start]:
        return Wrapped((argv[start:],))
    return Wrapped(scripts=(_joined(argv[start:]),))


def _joined(words: tuple[str, ...]) -> str:
    if any(map(unknown, words)):
        raise Unclear("what it runs is known only when it runs")
    return " ".join(words)


def _script(argv: tuple[str, ...]) -> Wrapped | None:
    """``script -c COMMAND [FILE]``, which writes what it sees to FILE."""
    options = _options("aefq", "c", long="--append --return --flush --quiet", longs="--command")
    end = options.skip(argv)
    for at, text in enumerate(argv[1:end], 1):
        name, equals, value = text.partition("=")
        if name == "--command" or (not name.startswith("--") and "c" in name):
            found = value if equals else name.partition("c")[2] if name[:2] != "--" else ""
            given = found or (argv[at + 1] if at + 1 < len(argv) else UNKNOWN)
            return Wrapped(
                scripts=(_joined((given,)),), writes=argv[end:] or ("typescript",), shown=("script",), keeps=True
            )
    raise Unclear("script opens a shell")


def _parallel(argv: tuple[str, ...]) -> Wrapped | None:
    words = argv[_PARALLEL.skip(argv) :]
    end = next((at for at, text in enumerate(words) if text.startswith(":::")), len(words))
    line = _joined(words[:end])
    if not line:
        raise Unclear("parallel reads its commands when it runs")
    filled = re.sub(r"\{[^\s}]*\}", "$GIVEN", line)
    return Wrapped(scripts=(filled if filled != line else f"{line} $GIVEN",))


def _flock(argv: tuple[str, ...]) -> Wrapped | None:
    inner = argv[_FLOCK.skip(argv) :]
    if inner[:1] == ("-c",):
        return Wrapped(scripts=(_joined(inner[1:2]),))
    return Wrapped((inner,)) if inner else None


def _git(argv: tuple[str, ...]) -> Wrapped | None:
    """No wrapper, but settings and some subcommands make git run anything."""
    at = 1
    while at < len(argv) and argv[at].startswith(("-", UNKNOWN)):
        name = argv[at].partition("=")[0]
        value = argv[at + 1].lower() if at + 1 < len(argv) else ""
        if (
            unknown(name)
            or name in {"--exec-path", "--config-env", "--git-dir", "--work-tree"}
            or (name == "-c" and not value.startswith(_GIT_HARMLESS))
        ):
            raise Unclear("settings given to git can run programs")
        at += 2 if argv[at] in {"-c", "-C", "--namespace"} else 1
    subcommand, first = (*argv[at:], "", "")[:2]
    runs = {(subcommand, first), (subcommand, "")} & _GIT_RUNNERS
    if runs or any(
        text.startswith(("--exec", "--upload-pack", "--receive-pack", "--extcmd", "-O")) for text in argv[at:]
    ):
        raise Unclear("this git command runs other programs")
    return None


def _make(argv: tuple[str, ...]) -> Wrapped | None:
    for text in argv[1:]:
        name, equals, value = text.partition("=")
        shell = equals and name.rstrip(":+?!") in {"SHELL", ".SHELLFLAGS", "MAKEFLAGS", "MAKE"}
        if shell or "$" in value or "`" in value or name in {"--eval", "-E", "-f-"}:
            raise Unclear("its arguments can make it run anything")
    if any(pair in pairwise(argv) for pair in (("-f", "-"), ("-f", "/dev/stdin"))):
        raise Unclear("make reads its rules when it runs")
    return None


def _carrier(*options: str) -> Callable[[tuple[str, ...]], Wrapped | None]:
    def unwrapped(argv: tuple[str, ...]) -> Wrapped | None:
        if any(text.startswith(options) for text in argv[1:]):
            raise Unclear(f"an option of {argv[0]} runs other programs")
        return None

    return unwrapped


_SPECIAL: dict[str, Callable[[tuple[str, ...]], Wrapped | None]] = {
    "sudo": _privileged(_SUDO),
    "doas": _privileged(_DOAS),
    "env": _env,
    "eval": _eval,
    "trap": _trap,
    "xargs": _xargs,
    "find": _find,
    "watch": _watch,
    "script": _script,
    "parallel": _parallel,
    "flock": _flock,
    "git": _git,
    "make": _make,
    "gmake": _make,
    "printf": _carrier("-v"),
    "mapfile": _carrier("-C"),
    "readarray": _carrier("-C"),
    "tar": _carrier("--checkpoint-action", "--to-command", "-I", "--use-compress-program", "--rsh-command", "-F"),
    "rsync": _carrier("-e", "--rsh", "--rsync-path"),
    "sort": _carrier("--compress-program"),
}
