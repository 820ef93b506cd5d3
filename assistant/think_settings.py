"""Rules on thinking as the user's settings have them: his own, and the names of built-in ones that he does without."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatch
from typing import Any

from assistant.records import CallOutcome
from assistant.think import BUILT_IN, TAKEN, Situation, ThinkDecision
from model.format import ThinkRequest


@dataclass(frozen=True, slots=True)
class UserRule:
    """A rule from the user's settings: `think` where all conditions that are given hold.

    `words` is a regular expression searched in the user's message. `tool`, `outcome` and `path` (a glob) must all hold
    of one call of the step before.
    """

    name: str
    think: ThinkRequest
    words: str = ""
    tool: str = ""
    outcome: str = ""
    path: str = ""

    def __call__(self, situation: Situation) -> ThinkDecision | None:
        """The decision, if the conditions hold."""
        if self.words and not re.search(self.words, situation.words, re.IGNORECASE):
            return None
        if (self.tool or self.outcome or self.path) and not any(map(self._holds_of, situation.last_calls)):
            return None
        return ThinkDecision(self.think, self.name, f"The user's rule {self.name!r} says so.")

    def _holds_of(self, call: CallOutcome) -> bool:
        path = str(call.arguments.get("path", ""))
        return (
            self.tool in ("", call.tool)
            and self.outcome in ("", call.outcome)
            and (not self.path or fnmatch(path, self.path))
        )


_CONDITIONS = tuple(field.name for field in fields(UserRule) if field.name not in ("name", "think"))


def read_rules(value: Any) -> tuple[UserRule, ...]:
    """The rules of the `think_rules` setting. Raises TypeError or ValueError that says what is wrong with which."""
    if isinstance(value, tuple):
        return value
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise TypeError("each rule is a table of its own, like [[think_rules]]")
    return tuple(_rule(number, table) for number, table in enumerate(value, 1))


def read_without(value: Any) -> tuple[str, ...]:
    """The names of the `think_without` setting. Raises TypeError or ValueError."""
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise TypeError('it is a list of rules, like ["before_finish"]')
    for each in value:
        if each not in BUILT_IN:
            raise ValueError(f"there is no rule {each!r}; there are {', '.join(BUILT_IN)}")
    return tuple(value)


def _rule(number: int, table: Mapping[str, Any]) -> UserRule:
    for key, given in table.items():
        if key not in ("name", "think", *_CONDITIONS):
            raise ValueError(f"rule {number} knows no {key!r}; it takes name, think, {', '.join(_CONDITIONS)}")
        if not isinstance(given, str):
            raise TypeError(f"{key!r} of rule {number} is text")
    if table.get("think") not in list(ThinkRequest):
        raise ValueError(f"'think' of rule {number} is one of {', '.join(ThinkRequest)}")
    conditions = {key: table[key] for key in _CONDITIONS if table.get(key)}
    if not conditions:
        raise ValueError(f"rule {number} has no condition; give {', '.join(_CONDITIONS)}")
    try:
        re.compile(conditions.get("words", ""))
    except re.error as error:
        raise ValueError(f"'words' of rule {number} is no regular expression: {error}") from None
    name = table.get("name") or f"user_{number}"
    if name in TAKEN:
        raise ValueError(f"rule {number} cannot be called {name!r}, which is the name of a built-in one")
    return UserRule(name, ThinkRequest(table["think"]), **conditions)
