"""Commands that take all there is. Every bomb is bounded, so that one that goes off does no harm either."""

from dataclasses import replace

import pytest

from assistant.safety.sandbox import Harm, Limits
from tests.attacks.world import Attack, World


def went_off(world: World) -> bool:
    """Whether the attacker got as far as to say so, in a file."""
    return (world.repository / "boom").exists()


def bomb(name: str, code: str) -> Attack:
    """With a machine's usual limits it goes off; with small ones, which every tier on Linux sets, it must not."""
    return Attack(name, Harm.LIMITS, f"{code}\nopen('boom', 'w').close()", went_off, seconds=5)


BOMBS = [
    bomb(
        "forks-many-processes",
        """
for number in range(200):
    if os.fork() == 0:
        time.sleep(3)
        os._exit(0)
    time.sleep(0.002)
""",
    ),
    bomb("eats-memory", "room = bytearray(400 << 20)"),
    bomb(
        "eats-memory-in-many-processes",
        """
full, tell = os.pipe()
for number in range(8):
    if os.fork() == 0:
        room = bytearray(os.urandom(1) * (60 << 20))
        os.write(tell, b'.')
        time.sleep(4)
        os._exit(0)
for number in range(8):
    os.read(full, 1)
time.sleep(1)
""",
    ),
    bomb("writes-a-huge-file", "with open('big', 'wb') as file:\n    for _ in range(8): file.write(bytes(1 << 20))"),
    bomb("stretches-a-file", "os.truncate(os.open('big', os.O_CREAT | os.O_RDWR), 64 << 20)"),
    bomb(
        "fills-the-disk",
        """
for number in range(60):
    with open(f'part{number}', 'wb') as file:
        file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    time.sleep(0.02)
""",
    ),
    bomb("hangs", "time.sleep(0.9)"),
]


@pytest.mark.parametrize("attack", BOMBS, ids=lambda attack: attack.name)
async def test_bombs(world: World, attack: Attack) -> None:
    if attack.harm not in world.sandbox.stops:
        pytest.skip("no limits are claimed here")
    await world.limited().play(attack.code, timeout=attack.seconds if attack.name != "hangs" else 0.5)
    assert not went_off(world), world.output
    assert not (world.repository / "big").exists() or (world.repository / "big").stat().st_size <= 1 << 20


async def test_a_bomb_that_is_allowed_goes_off(world: World) -> None:
    """What shows that the limits stopped the others, and nothing else."""
    if world.sandbox.tier == "none":
        pytest.skip("as in the other tiers")
    for attack in BOMBS[:2]:
        await world.play(attack.code, timeout=5)
        assert went_off(world), world.output
        (world.repository / "boom").unlink()


async def test_printing_for_ever_is_bounded_in_time_and_memory(world: World) -> None:
    await world.play("while True: print('\\033]52;c;harm\\a' * 1000, flush=True)", timeout=0.5)
    assert world.result is not None
    assert world.result.timed_out
    assert world.result.truncated
    assert len(world.output) < 201_000


async def test_a_stop_is_said(world: World) -> None:
    if Harm.LIMITS not in world.sandbox.stops:
        pytest.skip("no limits are claimed here")
    limited = replace(world, sandbox=replace(world.sandbox, limits=Limits(processes=60)))
    await limited.play(BOMBS[0].code, timeout=5)
    assert limited.result is not None
    assert "more than 60 processes" in limited.result.stopped
    assert limited.result.stopped in limited.output
