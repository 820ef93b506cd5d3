"""What experts have in common: an episode is what the user says and a script of turns that answers it.

Whatever an expert says is true by construction: it is read off the source's syntax tree, off what a tool showed, or off
a change that is known to be right.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from assistant.context import ProfileName
from model.format import ThinkRequest, ToolCall
from training.data.experts.playing import Script, Turn
from training.data.experts.steady import Astray
from training.data.experts.words import in_words, said
from training.data.repositories.modules import Callable_, Definition, Module, definitions, modules

WIDE = 4
"""Lines that are read before and behind a definition; our choice."""
_SHORT = 1_500
"""Characters of a file that the compact profile shows at once, with room for line numbers."""
_MOST_READS = 4
_REST = re.compile(r"; read on with start_line (\d+)$", re.MULTILINE)
_DEFINED = re.compile(r"^\s*(?:async )?(?:def|class) (\w+)", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_]\w+")


@dataclass(frozen=True, slots=True)
class Episode:
    """What the user says, and the script of who answers. `start` are files that are not as in the source."""

    kind: str
    words: str
    script: Callable[[], Script]
    path: str = ""
    function: str = ""
    start: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Library:
    """The Python files of a source that people wrote, parsed."""

    root: Path

    @cached_property
    def modules(self) -> dict[str, Module]:
        """By path."""
        return {module.path: module for module in modules(self.root)}

    @cached_property
    def definitions(self) -> tuple[Definition, ...]:
        """All of them, in the order of paths and lines."""
        return tuple(each for module in self.modules.values() for each in definitions(module))

    @cached_property
    def unique(self) -> tuple[Definition, ...]:
        """Those whose name is defined once in all files, tests among them, and says something."""
        return tuple(each for each in self.definitions if self._counts[each.node.name] == 1 and _telling(each))

    @cached_property
    def functions(self) -> tuple[Definition, ...]:
        """The functions and methods among the unique ones."""
        return tuple(each for each in self.unique if isinstance(each.node, Callable_))

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(name for text in self._texts for name in _DEFINED.findall(text))

    @cached_property
    def words(self) -> frozenset[str]:
        """Every identifier in all Python files."""
        return frozenset(word for text in self._texts for word in _WORD.findall(text))

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        paths = (path for path in sorted(self.root.rglob("*.py")) if path.is_file())
        return tuple(path.read_text("utf-8", "replace") for path in paths)


@dataclass(frozen=True, slots=True)
class Part:
    """An expert in one episode: how he speaks. `wish` is what the user said about thinking."""

    rng: random.Random
    language: str
    profile: ProfileName
    wish: ThinkRequest = ThinkRequest.AUTO

    @property
    def full(self) -> bool:
        """Whether he has all tools."""
        return self.profile == "full"

    def say(self, key: str) -> str:
        """One of the wordings of `key`."""
        return said(self.rng, key, self.language)

    def turn(
        self,
        role: str,
        *calls: ToolCall,
        on: float | None = None,
        fails: bool = False,
        thought: str = "",
        answer: str | None = None,
    ) -> Turn:
        """A turn in `role`, by which its judge is worded, and what is not given of its thought and its answer.

        `on` is how likely the expert is to think where nobody says otherwise, by default as `THINKING` has it.
        """
        likely = THINKING.get(role, 0.0) if on is None else on
        thinks = self.rng.random() < likely
        thinks = thinks if self.wish is ThinkRequest.AUTO else self.wish is ThinkRequest.ON
        if answer is None:
            answer = self.say(f"{role}.answer") if self.rng.random() < _NOTES else ""
        judge = self.say(f"{role}.{'on' if thinks else 'off'}")
        return Turn(answer, calls, thought or self.say(f"{role}.think"), judge, thinks, fails)


THINKING = {"analyse": 0.85, "edit": 0.6, "mend": 1.0, "tell": 0.3, "finish": 0.25}
"""How likely experts think in a role, where neither the user nor a rule says so. As the report on KAT-V1 has it, causes
are analysed with a thought, and reading and running tests go without; the numbers are our choice."""
_NOTES = 0.6
"""The share of steps with a word before their calls; our choice."""


def call(name: str, **arguments: Any) -> ToolCall:
    """A call as an engine's reader gives it."""
    return ToolCall(name, arguments)


def read(part: Part, module: Module, first: int, last: int) -> ToolCall:
    """The call that shows these lines of a file: the whole file where it is short."""
    end = len(module.lines) - (module.lines[-1] == "")
    if len(module.text) <= _SHORT or (part.full and end <= 60 and part.rng.random() < 0.5):
        return call("read_file", path=module.path)
    return call("read_file", path=module.path, start_line=max(1, first - WIDE), end_line=max(1, min(end, last + WIDE)))


def reading(part: Part, module: Module, first: int, last: int, wanted: int, thought: str = "") -> Script:
    """Read these lines, and on where the tool left some out, until line `wanted` was seen.

    Raises:
        Astray: it would take too many steps.
    """
    asking = read(part, module, first, last)
    for _ in range(_MOST_READS):
        shown = yield part.turn("read", asking, thought=thought)
        rest = _REST.search(shown[-1]) if shown else None
        if rest is None or int(rest[1]) > wanted:
            return
        asking = ToolCall(asking.name, {**asking.arguments, "start_line": int(rest[1])})
        thought = in_words(
            part.language,
            f"The lines from {rest[1]} on were left out, and what matters may be among them; I read on.",
            f"第 {rest[1]} 行以后没有显示，而关键可能就在其中，接着读。",
        )
    raise Astray("the place was not shown")


def find(part: Part, definition: Definition) -> ToolCall:
    """The call that finds a definition by its name."""
    node = definition.node
    if part.full and part.rng.random() < 0.5:
        return call("symbols", symbol=node.name)
    word = "def" if isinstance(node, Callable_) else "class"
    return call("search", pattern=f"{word} {node.name}")


def shuffled(rng: random.Random, items: Iterator[Any] | tuple[Any, ...]) -> list[Any]:
    """The items in an order of the generator's."""
    found = [*items]
    rng.shuffle(found)
    return found


def finishing(part: Part, message: str, thought: str) -> Script:
    """The end of the run; where it is held, it is thought over and ended again."""
    calls = (call("finish", message=message),)
    outputs = yield part.turn("finish", *calls, answer="", thought=thought)
    if outputs and outputs[-1].startswith("Held"):
        yield part.turn("finish", *calls, answer="", thought=thought)


def _telling(definition: Definition) -> bool:
    name = definition.node.name
    return len(name) >= 4 and not (name.startswith("__") and name.endswith("__"))
