"""Runs in the sandbox, by itself: calls functions, each in a process of its own, and writes what it saw.

Only the standard library: it runs in the interpreter of the source, which is Python 3.10 or newer, the first that is
seen to run every line (PEP 626). Its argument is a file with the calls as JSON; each line that it writes is what became
of one call. It never gives up on time where it can count instead, so that a slow machine sees the same.
"""

from __future__ import annotations

import collections
import datetime as dt
import dis
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType
from typing import Any

STEPS = 300
"""Steps of the function that are written down; a call that takes more is left out."""
WORK = 20_000
"""Lines that everything called may run; likewise."""
WIDEST = 120
"""Characters of a value that are written; of a longer one its kind and size."""
ANSWER = 200
ITEMS = 100
"""Of an iterator; of more there is no answer."""
SECONDS = 5
MEMORY = 1 << 30
DEEPEST = 6
LARGEST = 10**60
"""Numbers from which their digits are too many."""
_PLAIN = (bool, str, bytes, type(None), type(...))
_DATES = (dt.date, dt.datetime, dt.time, dt.timedelta)
_SIZED = (list, tuple, dict, set, frozenset, str, bytes, range)
_BRACKETS: dict[type, str] = {list: "[]", set: "{}", frozenset: "{}", dict: "{}", tuple: "()"}
_NAMED = (type, FunctionType, BuiltinFunctionType)
_BOXES = (collections.defaultdict, collections.Counter, collections.OrderedDict, collections.deque)
_WORLD = frozenset({"time", "random", "posix", "nt", "_io", "_socket", "_random", "_ctypes", "_uuid"})
_HARMLESS = frozenset({"fspath"})
_CLOCK = frozenset({"now", "utcnow", "today"})
_GENERATOR = 0x20
Spec = dict[str, Any]
Trace = Callable[[FrameType, str, Any], Any]


def simple(value: Any, depth: int = 0) -> bool:
    """Whether a few words say all of a value, the same in each process."""
    kind = type(value)
    if kind is int or kind is float:
        return bool(abs(value) < LARGEST)  # nor is what is no number or has no end
    if kind in _PLAIN:
        return kind not in _SIZED or len(value) <= ANSWER
    if kind is range:
        return simple((value.start, value.stop, value.step))
    if kind in _DATES:
        return getattr(value, "tzinfo", None) is None
    if depth > DEEPEST or kind not in _SIZED or len(value) > ITEMS:
        return False
    if kind is dict:
        return all(simple(key, depth + 1) and simple(item, depth + 1) for key, item in value.items())
    return all(simple(item, depth + 1) for item in value)


def shown(value: Any) -> str:
    """A value in few words."""
    kind = type(value)
    if simple(value):
        text = written(value)
        if len(text) <= WIDEST:
            return text
    if isinstance(value, _NAMED) and value.__name__.isidentifier():
        return value.__name__
    if kind in _BOXES:
        return f"<{kind.__name__} {shown(list(value) if kind is collections.deque else dict(value))}>"
    if kind in _SIZED:
        return f"<{kind.__name__} of {len(value)} {'characters' if kind is str else 'items'}>"
    return f"<{kind.__name__}>"


def written(value: Any) -> str:
    """The repr of a simple value, in which sets are in order."""
    brackets = _BRACKETS.get(type(value))
    if brackets is None or (not value and type(value) in (set, frozenset)):
        return repr(value)
    if type(value) is dict:
        items = [f"{written(key)}: {written(item)}" for key, item in value.items()]
    else:
        items = list(map(written, value))
    if type(value) in (set, frozenset):
        items.sort()
    inner = f"{brackets[0]}{', '.join(items)}{',' * (type(value) is tuple and len(items) == 1)}{brackets[1]}"
    return f"frozenset({inner})" if type(value) is frozenset else inner


def operation_of(frame: FrameType) -> str:
    """What the frame does right now: a return that an exception makes is no RETURN."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] if frame.f_lasti >= 0 else ""


class Watcher:
    """Follows one call of one function: its lines and what they change, and what it asks of other functions."""

    def __init__(self, path: str, spec: Spec, leave: Callable[[str, str], None]) -> None:
        self._path, self._spec, self._leave = path, spec, leave
        self._frame: FrameType | None = None
        self._locals: dict[str, str] = {}
        self._work = 0
        self.steps: list[list[Any]] = []
        self.start: dict[str, str] = {}

    def trace(self, frame: FrameType, event: str, arg: Any) -> Trace | None:
        """For sys.settrace."""
        if frame is self._frame:
            return self._inside
        if self._frame is None and self._is_target(frame.f_code):
            self._frame = frame
            self.start = self._locals = self._seen()
            return self._inside
        if self._frame is not None and frame.f_back is self._frame and self._is_told(frame.f_code):
            return self._helper(frame)
        return self._count

    def profile(self, frame: FrameType, event: str, arg: Any) -> None:
        """For sys.setprofile: leaves where the world is asked, which answers differently each time."""
        if event != "c_call" or self._frame is None:
            return
        name, owner = getattr(arg, "__name__", ""), getattr(arg, "__self__", None)
        module = getattr(arg, "__module__", None) or type(owner).__module__
        clock = isinstance(owner, type) and owner.__module__ == "datetime" and name in _CLOCK
        if clock or (module in _WORLD and name not in _HARMLESS) or arg is id:
            self._leave("world", f"it calls {name}")

    def end(self) -> None:
        """Forget the frame: what comes now is not of the call."""
        sys.settrace(None)
        sys.setprofile(None)

    def _is_target(self, code: CodeType) -> bool:
        first, last = self._spec["rows"]
        named = code.co_name == self._spec["function"]
        return named and first <= code.co_firstlineno <= last and self._same_file(code)

    def _is_told(self, code: CodeType) -> bool:
        generates = code.co_flags & _GENERATOR
        return not generates and code.co_name in self._spec["helpers"] and self._same_file(code)

    def _same_file(self, code: CodeType) -> bool:
        return code.co_filename == self._path

    def _seen(self) -> dict[str, str]:
        assert self._frame is not None
        names = sorted((name, value) for name, value in self._frame.f_locals.items() if name.isidentifier())
        return {name: shown(value) for name, value in names if not name.startswith("__")}

    def _inside(self, frame: FrameType, event: str, arg: Any) -> Trace:
        if event == "call":
            return self._inside
        self._changes()
        if event == "line":
            self._count(frame, event, arg)
            self._step(frame.f_lineno)
        elif event == "exception":
            self._note("raises", arg[0].__name__)
        elif event == "return":
            self._returned(frame, arg)
        return self._inside

    def _returned(self, frame: FrameType, value: Any) -> None:
        operation = operation_of(frame)
        if operation == "YIELD_VALUE":
            self._note("yields", shown(value))
        elif operation.startswith("RETURN"):
            self._note("returns", shown(value))

    def _step(self, line: int) -> None:
        if len(self.steps) >= STEPS:
            self._leave("too_long", f"it takes more than {STEPS} steps")
        self.steps.append([line, {}, []])

    def _changes(self) -> None:
        now = self._seen()
        if self.steps:
            changed = self.steps[-1][1]
            changed.update({name: value for name, value in now.items() if self._locals.get(name) != value})
        self._locals = now

    def _note(self, kind: str, *words: str) -> None:
        if self.steps:
            self.steps[-1][2].append([kind, *words])

    def _helper(self, frame: FrameType) -> Trace:
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount]
        plain = not code.co_kwonlyargcount and not code.co_flags & 0x0C
        values = [frame.f_locals[name] for name in names if name in frame.f_locals]
        call = f"{code.co_name}({', '.join(map(shown, values))})"
        tellable = plain and all(map(simple, values))

        def inside(frame: FrameType, event: str, arg: Any) -> Any:
            if event == "return" and tellable and simple(arg) and operation_of(frame).startswith("RETURN"):
                self._note("calls", call, shown(arg))
            self._count(frame, event, arg)
            return inside

        return inside

    def _count(self, frame: FrameType, event: str, arg: Any) -> Trace:
        self._work += event == "line"
        if self._work > WORK:
            self._leave("too_long", f"more than {WORK} lines run")
        return self._count


def call(module: Any, path: str, spec: Spec, tell: Callable[[Spec], None]) -> None:
    """Make a call and tell what came of it."""

    def leave(why: str, detail: str) -> None:
        tell({"id": spec["id"], "why": why, "detail": detail})
        os._exit(0)

    watcher = Watcher(path, spec, leave)
    names = {spec["function"]: getattr(module, spec["function"], None)}
    wrapped = False
    code = compile(spec["call"], "<call>", "eval")
    try:
        sys.setprofile(watcher.profile)
        sys.settrace(watcher.trace)
        result = eval(code, names)  # noqa: S307 - this is what it is for
        if hasattr(type(result), "__next__"):
            wrapped, result = True, _taken(result, leave)
        watcher.end()
    except BaseException as error:  # noqa: BLE001 - whatever it was, the call has no result
        watcher.end()
        leave("raises", type(error).__name__)
    _answer(spec, result, wrapped, watcher, leave, tell)


def _taken(result: Any, leave: Callable[[str, str], None]) -> list[Any]:
    items = []
    for item in result:
        items.append(item)
        if len(items) > ITEMS:
            leave("too_long", f"it yields more than {ITEMS} items")
    return items


def _answer(
    spec: Spec,
    result: Any,
    wrapped: bool,
    watcher: Watcher,
    leave: Callable[[str, str], None],
    tell: Callable[[Spec], None],
) -> None:
    if not simple(result):
        leave("not_simple", f"it returns a {type(result).__name__}")
    text = written(result)
    if len(text) > ANSWER:
        leave("too_long", "its result is too long")
    if not watcher.steps:
        leave("unseen", "no line of it was seen to run")
    tell({"id": spec["id"], "answer": text, "wrapped": wrapped, "start": watcher.start, "steps": watcher.steps})


def apart(work: Callable[[], None]) -> int:
    """Do it in a child, which cannot take this process with it; its exit status."""
    child = os.fork()
    if not child:
        with suppress(BaseException):
            _limit()
            work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


def _limit() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    for limit, most in ((resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_AS, MEMORY)):
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))


def follow(part: Spec, tell: Callable[[Spec], None]) -> None:
    """Make the calls of one module."""
    try:
        module = importlib.import_module(part["module"])
    except BaseException as error:  # noqa: BLE001 - whatever it was, there are no functions
        for spec in part["calls"]:
            tell({"id": spec["id"], "why": "no_module", "detail": type(error).__name__})
        return
    path = str(Path(part["path"]).absolute())
    for spec in part["calls"]:

        def once(spec: Spec = spec) -> None:
            call(module, path, spec, tell)

        if apart(once):
            tell({"id": spec["id"], "why": "died", "detail": "it was ended, or ended its process"})


def main(argument: str) -> None:
    """Make all calls."""
    if sys.version_info < (3, 10):  # noqa: UP036 - it is not ours
        sys.exit("calls are followed with Python 3.10 or newer")
    out = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    parts = json.loads(Path(argument).read_text("utf-8"))

    def tell(row: Spec) -> None:
        data = (json.dumps(row) + "\n").encode()
        while data:
            data = data[os.write(out, data) :]

    for part in parts:
        sys.path[0] = str(Path(part["root"]).absolute())
        child = os.fork()
        if not child:
            with suppress(BaseException):
                follow(part, tell)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1])
