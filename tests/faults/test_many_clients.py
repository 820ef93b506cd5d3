"""Many clients at once: nobody reads what belongs to another, and nothing stays behind when they are gone."""

import asyncio
import gc
from contextlib import aclosing

import pytest

from benchmarks.crowd import CLIENTS, KAT, figures, left, stress
from model.catalog import CATALOG
from model.engine import Sampling
from model.engines.embedded import EmbeddedEngine
from model.format import ThinkRequest
from model.prompt import Message
from model.pull import pull

MIB = 2**20
WORDS = ("red", "Paris", "思考")


async def test_two_hundred_clients_of_a_server(tmp_path_factory, record_property):
    """A quarter of them goes away, reads slowly, or sends a megabyte."""
    folder = tmp_path_factory.mktemp("s")
    found = figures(*await stress(folder / "s", rounds=5))
    record_property("p99", found.p99)
    assert (found.clients, found.aliens) == (CLIENTS, 0)
    assert (found.files, found.tasks, found.threads) == (0, 0, 0)
    assert found.memory < 24 * MIB, "memory swings by about 9 MiB from round to round; a leak would add 25 and more"
    assert found.first_p99 < 60, "nobody starves"


def prompt_of(number):
    text = f"Say something about {WORDS[number % len(WORDS)]} in a word."
    return KAT.render([Message("user", text)], (), ThinkRequest.OFF, "")


async def said(engine, number, over, leaves=False):
    """What client `number` is told; the order in which they are done goes to `over`."""
    text = ""
    sampling = Sampling(temperature=0.0, max_tokens=6, seed=1)
    async with aclosing(engine.stream(prompt_of(number), sampling)) as deltas:
        async for delta in deltas:
            text += delta.text
            if leaves and text:
                break
    over.append(number)
    return text


@pytest.mark.embedded
async def test_two_dozen_clients_of_the_embedded_engine_are_answered_in_turn():
    engine = EmbeddedEngine(pull(CATALOG["nano"]), context=1024, threads=1)
    alone = [await said(engine, number, []) for number in range(len(WORDS))]
    before, over = left(), []
    crowd = [asyncio.ensure_future(said(engine, number, over, number % 4 == 3)) for number in range(24)]
    for number in (5, 10):
        crowd[number].cancel()
    texts = await asyncio.gather(*crowd, return_exceptions=True)
    stayed = [number for number in range(24) if number % 4 != 3 and number not in (5, 10)]
    assert [number for number in over if number in stayed] == stayed
    assert [texts[number] for number in stayed] == [alone[number % len(WORDS)] for number in stayed]
    assert all(alone[number % len(WORDS)].startswith(texts[number]) for number in range(3, 24, 4))
    del crowd, texts
    gc.collect()
    after = left()  # the event loop keeps the few threads of its pool
    assert (after.files, after.tasks) == (before.files, before.tasks)
    assert after.memory - before.memory < 24 * MIB
    await engine.aclose()
