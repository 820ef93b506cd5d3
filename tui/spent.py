"""A session's ledger in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from assistant.ledger import Account, Ledger
from tui.words import count, duration, plural

_RULES = 5
"""Rules that are named; the rest is counted."""


def ledger_text(found: Ledger) -> str:
    """What thinking cost, what it saved, and which rules decided."""
    if not found.total.steps:
        return "No step yet: nothing was spent."
    return "\n".join(_lines(found))


def _lines(found: Ledger) -> Iterator[str]:
    total = found.total
    yield f"{plural(total.steps, 'step')}, {plural(len(found.switches), 'switch', 'switches')} of mode"
    for mode in ("on", "off", "none"):
        if account := found.by_mode.get(mode):
            yield f"{'no mode' if mode == 'none' else f'think {mode}'}: {_account(account)}"
    share = total.cached_share
    cached = "" if share is None else f", {share:.0%} of it from the cache"
    yield f"prompts {count(total.tokens.prompt)} tokens{cached}"
    yield from _saved(found)
    yield from _rules(found)
    yield from _troubles(found)
    yield "kat stats in a shell says more."


def _account(account: Account) -> str:
    tokens, seconds = account.tokens, account.seconds
    return (
        f"{plural(account.steps, 'step')}, judge {count(tokens.judge)}, think {count(tokens.think)}, "
        f"answer {count(tokens.answer)} tokens; {duration(seconds.decode)}, tools {duration(seconds.tools)}"
    )


def _saved(found: Ledger) -> Iterator[str]:
    if (estimate := found.estimate) is not None and estimate.tokens:
        share = f"{estimate.saved_share:.0%}"
        more = f"about {count(estimate.tokens)} tokens more"
        yield f"always thinking would have taken {more}: {share} saved (an estimate)"


def _rules(found: Ledger) -> Iterator[str]:
    rules = sorted(found.by_rule.items(), key=lambda item: -item[1].steps)
    named = [f"{rule} {account.steps}" for rule, account in rules[:_RULES]]
    if len(rules) > _RULES:
        named.append(f"{len(rules) - _RULES} others")
    yield f"rules: {', '.join(named)}"


def _troubles(found: Ledger) -> Iterator[str]:
    if found.wrong:
        yield f"{plural(len(found.wrong), 'step')} without thinking went wrong, {len(found.recovered)} put right"
    if found.leaks:
        yield f"{plural(len(found.leaks), 'answer')} thought aloud with thinking off"
    if found.disobeyed:
        yield f"{plural(len(found.disobeyed), 'step')} came back in another mode than asked"
