"""`kat stats`: what thinking cost and saved, from the journals."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assistant.commands.options import Json
from assistant.config import state_dir
from assistant.errors import UserError

if TYPE_CHECKING:
    from assistant.ledger import Account, Ledger, StepRef

_WIDE = 108
"""Columns of a terminal in which tokens and seconds stand side by side."""
_NARROW = 70
"""Columns below which figures stand in lines, not in a table that would have to cut them."""
_EXAMPLES = 5
"""Steps that a line names (our choice); `--json` has all."""
_TOKENS = ("steps", "read", "cached", "judge", "thought", "answer")
_SECONDS = ("queue", "prefill", "decode", "tools")


def stats(
    session: Annotated[str | None, typer.Argument(metavar="[SESSION]", help="its id, or its first characters")] = None,
    all_: Annotated[bool, typer.Option("--all", help="all sessions together")] = False,
    json_: Json = False,
) -> None:
    """Tokens and seconds by mode and by rule, what thinking at every step would have cost; the last session's."""
    from assistant.ledger import as_json

    if session and all_:
        raise UserError("give a session or --all, not both")
    found = _all() if all_ else _one(session or "last")
    if json_:
        print(json.dumps(as_json(found), ensure_ascii=False))
    else:
        _show(found)


def folder_of_sessions() -> Path:
    """Where the journals are.

    Raises:
        UserError: there are none.
    """
    from assistant.sessions import sessions_dir

    folder = sessions_dir(state_dir(os.environ))
    if not any(folder.glob("*.jsonl")):
        raise UserError("there is no session yet; `kat` or `kat ask` begins one")
    return folder


def _one(session: str) -> Ledger:
    from assistant.ledger import Account
    from assistant.sessions import find, spawned

    path = find(folder_of_sessions(), session)
    found = _ledger(path)
    if not found.total.steps:
        raise UserError(f"session {path.stem} has no steps yet; `kat sessions list` shows how many each has")
    agents = (_ledger(agent).total for agent in spawned(path.parent, path.stem))
    return replace(found, sub_agents=sum(agents, Account()))


def _all() -> Ledger:
    """Every session, what a fork has from a parent that is still there counted once."""
    from assistant.ledger import Ledger
    from assistant.sessions import read

    paths = {path.stem: path for path in sorted(folder_of_sessions().glob("*.jsonl"))}
    found = Ledger()
    for path in paths.values():
        parent = next(read(path), {}).get("parent")
        try:
            found += _ledger(path, inherited=parent not in paths)
        except UserError as error:
            print(f"kat: left out: {error}", file=sys.stderr)
    if not found.total.steps:
        raise UserError("no session has a step yet; `kat` or `kat ask` begins one")
    return found


def _ledger(path: Path, *, inherited: bool = True) -> Ledger:
    from assistant.ledger import KINDS, ledger
    from assistant.sessions import header, read, undamaged

    header(path)
    with undamaged(path):
        return ledger(path.stem, read(path, KINDS), inherited=inherited)


def _show(found: Ledger) -> None:
    from assistant.commands.figures import console
    from assistant.safety.sanitize import sanitize

    screen = console()
    names = found.sessions
    screen.print(f"Session {names[0]}" if len(names) == 1 else f"{len(names)} sessions")
    modes = {f"think {name}" if name != "none" else "no mode": each for name, each in sorted(found.by_mode.items())}
    for title, rows in (("By mode", modes | {"all": found.total}), ("By rule", _by_steps(found.by_rule))):
        for made in _tables(title, rows, screen.width):
            screen.print(made)
    for line in _lines(found):
        screen.print(sanitize(line))


def _by_steps(accounts: Mapping[str, Account]) -> dict[str, Account]:
    """Those with the most steps first."""
    return dict(sorted(accounts.items(), key=lambda item: (-item[1].steps, item[0])))


def _tables(title: str, rows: Mapping[str, Account], width: int) -> Iterator[object]:
    from assistant.commands.figures import table
    from assistant.safety.sanitize import sanitize

    named = {sanitize(name) or "–": each for name, each in rows.items()}
    tokens = {name: _tokens(each) for name, each in named.items()}
    seconds = {name: _seconds(each) for name, each in named.items()}
    if width < _NARROW:
        yield title
        for name in named:
            yield f"  {name}"
            yield f"    {_pairs(_TOKENS, tokens[name])}"
            yield f"    {_pairs(_SECONDS, seconds[name])}"
        return
    if width >= _WIDE:
        yield table(title, ("", *_TOKENS, *_SECONDS), [(name, *tokens[name], *seconds[name]) for name in named])
        return
    yield table(f"{title}: tokens", ("", *_TOKENS), [(name, *row) for name, row in tokens.items()])
    yield table(f"{title}: time", ("", *_SECONDS), [(name, *row) for name, row in seconds.items()])


def _pairs(names: Sequence[str], values: Sequence[str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def _tokens(account: Account) -> tuple[str, ...]:
    from assistant.commands.figures import count, share

    tokens = account.tokens
    written = map(count, (tokens.judge, tokens.think, tokens.answer))
    return (count(account.steps), count(tokens.prompt), share(account.cached_share), *written)


def _seconds(account: Account) -> tuple[str, ...]:
    from assistant.commands.figures import duration

    seconds = account.seconds
    return tuple(map(duration, (seconds.queue, account.prefill, seconds.decode, seconds.tools)))


def _lines(found: Ledger) -> Iterator[str]:
    yield from _always_on(found)
    many = len(found.sessions) > 1
    for title, items in _noted(found, many=many):
        yield _line(title, items)
    total = sum(found.interventions.values())
    yield f"Interventions: {total}" + "".join(f" · {name} {number}" for name, number in found.interventions.items())
    forks = found.forks
    yield f"Steps run again in the other mode: {forks.steps} ({forks.generated} tokens, counted nowhere else)"
    if agents := found.sub_agents.steps:
        yield f"Steps of sub-agents: {agents} ({found.sub_agents.generated} tokens, counted nowhere else)"


def _noted(found: Ledger, *, many: bool) -> Iterator[tuple[str, list[str]]]:
    """What there is to say of single steps, by title."""
    switches = [f"{_named(each.at, many=many)} {each.before}→{each.after} ({each.rule})" for each in found.switches]
    yield "Switches", switches
    right = f" of {len(found.wrong)} that went wrong without a thought" if found.wrong else ""
    recovered = [f"{_named(each.at, many=many)} ({each.rule}: {each.wrong})" for each in found.recovered]
    yield f"Steps recovered{right}", recovered
    leaks = [f"{_named(each.at, many=many)} “{each.words}”" for each in found.leaks]
    yield f"Answers that think aloud with thinking off (a heuristic; {found.answers_off} looked at)", leaks
    yield "Requests not obeyed", [_named(each, many=many) for each in found.disobeyed]
    yield "Preferences", [f"{_named(each.at, many=many)} {each.choice}" for each in found.preferences]


def _always_on(found: Ledger) -> Iterator[str]:
    from assistant.commands.figures import count, duration, share
    from assistant.ledger import HOW_ESTIMATED

    estimate = found.estimate
    if estimate is None:
        yield "Thinking at every step: no estimate, because no step thought."
        return
    yield (
        f"Thinking at every step (estimate): {count(estimate.tokens)} tokens and {duration(estimate.seconds)} more; "
        f"saved {share(estimate.saved_share)} of what it would have written."
    )
    yield f"  Estimated as: {HOW_ESTIMATED}."
    if found.not_estimated:
        yield f"  {found.not_estimated} steps without thinking are in sessions that never thought, and left out."


def _line(title: str, items: Sequence[str]) -> str:
    more = [f"and {len(items) - _EXAMPLES} more"] if len(items) > _EXAMPLES else []
    return f"{title}: {len(items)}" + "".join(f" · {item}" for item in (*items[:_EXAMPLES], *more))


def _named(ref: StepRef, *, many: bool) -> str:
    return f"{ref.session}:{ref.step}" if many else f"step {ref.step}"
