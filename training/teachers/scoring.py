"""A teacher is asked of the texts that the store has no rows of; where that was stopped, it goes on later."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol

from training.runtime.world import World
from training.teachers.store import About, Said, Store

PART = 64
"""Texts of a part: what a stop can lose. Our choice."""
ALONE = World()


class Teacher(Protocol):
    """A model that is distilled from."""

    @property
    def about(self) -> About:
        """Who it is."""

    def said(self, texts: Sequence[Sequence[int]]) -> list[Said]:
        """What it says of each text."""


def fill(
    store: Store,
    teacher: Teacher,
    texts: Iterable[Sequence[int]],
    say: Callable[[str], None],
    stop: Callable[[], bool],
    world: World = ALONE,
) -> bool:
    """Ask of every text that the store lacks; false where it was stopped before the end.

    Each process of a world asks of its share, and they go part by part together: none waits for another longer than a
    part takes. What the others stored is not in `store`, but in one that is opened behind it.
    """
    mine = islice(texts, world.rank, None, world.size)
    stream, done = (text for text in mine if text not in store), 0
    while True:
        missing = list({tuple(text): None for text in islice(stream, PART)})  # a text may come twice
        more, asked = world.max([bool(missing), stop()])
        if not more or asked:
            return not more
        if missing:
            store.add(zip(missing, teacher.said(missing), strict=True))
        done += int(world.sum([len(missing)])[0])
        say(f"teacher: {done:,} texts scored")
