"""What a repository's own test code tries when its tests are run in a throw-away view: nothing may change at all."""

import asyncio
import json
import sys
from collections.abc import Callable

from assistant.safety.sandbox import Harm
from assistant.testing.report import TestReport as Report
from assistant.testing.run import run_tests
from assistant.workspace.files import Workspace
from tests.attacks.world import PRELUDE, Attack, World, heard, received, tree

PYTEST = f"env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest -q -p no:cacheprovider"
TEST = "def test_fine(): assert True\n"


def anything_changed(world: World) -> bool:
    return world.changed("outside", "home", "work", "config", "state")


ATTACKS = [
    Attack(
        "deletes-the-repository",
        Harm.OUTSIDE,
        "shutil.rmtree(os.getcwd(), ignore_errors=True); shutil.rmtree(bait['repository'], ignore_errors=True)",
        anything_changed,
    ),
    Attack(
        "deletes-what-is-outside",
        Harm.OUTSIDE,
        "[shutil.rmtree(bait[name], ignore_errors=True) for name in ('outside', 'home')]",
        anything_changed,
    ),
    Attack(
        "plants-a-hook",
        Harm.OUTSIDE,
        """
for top in ('.', bait['repository']):
    try:
        open(top + '/.git/config', 'a').write('[core] fsmonitor = ./harm')
    except OSError:
        pass
""",
        anything_changed,
    ),
    Attack(
        "edits-the-code", Harm.OUTSIDE, "open(bait['repository'] + '/code.py', 'a').write('x = 2')", anything_changed
    ),
    Attack("reads-the-key", Harm.HOME, "print(open(bait['home'] + '/.ssh/id_rsa').read())", World.learnt),
    Attack(
        "phones-home",
        Harm.TCP,
        "socket.create_connection(('127.0.0.1', bait['tcp']), 2)",
        lambda world: heard(world.tcp),
    ),
    Attack(
        "phones-home-by-udp",
        Harm.UDP,
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', bait['udp']))",
        lambda world: received(world.udp),
    ),
    Attack(
        "outlives-the-tests",
        Harm.OUTLIVE,
        """
def live_on():
    time.sleep(0.6)
    open(bait['outside'] + '/late', 'w').close()
    os._exit(0)
parent = os.getppid()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        live_on()
    os._exit(0)
os.kill(parent, signal.SIGKILL)
""",
        lambda world: world.changed("outside"),
        real=False,
    ),
]


async def run_with(world: World, code: str) -> Report:
    """Run the tests of the repository with this code in its conftest.py."""
    indented = "".join(f"    {line}\n" for line in code.strip().splitlines())
    conftest = PRELUDE.replace("BAIT", repr(json.dumps(world.bait()))) + f"try:\n{indented}except Exception: pass\n"
    (world.repository / "conftest.py").write_text(conftest)
    (world.repository / "test_fine.py").write_text(TEST)
    world.before = tree(world.root)
    return await run_tests(world.sandbox, Workspace(world.repository), f"{PYTEST} -s", timeout=20)


async def test_hostile_tests(build: Callable[[str], World]) -> None:
    """All of them, each in a world of its own, some at a time."""
    some = asyncio.Semaphore(4)

    async def play(attack: Attack, world: World) -> None:
        async with some:
            report = await run_with(world, attack.code)
        if attack.harm is Harm.OUTLIVE:
            await asyncio.sleep(0.9)
        done, stopped = attack.done(world), attack.harm in world.sandbox.stops
        assert not (stopped and done), f"{world.sandbox.tier} let {attack.name} happen: {report.output}"
        if attack.real and not stopped and attack.harm is not Harm.HOME:
            assert done, f"{attack.name} is no attack: {report.output}"
        assert world.token not in report.output or Harm.HOME not in world.sandbox.stops

    await asyncio.gather(*(play(attack, build(attack.name)) for attack in ATTACKS))


async def test_escape_sequences_of_tests_are_taken_out(world: World) -> None:
    report = await run_with(world, "print('\\033]52;c;aGFybQ==\\a\\033[2J\\x9b31m\\u202eharm')")
    assert "harm" in report.output
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(report.output)


async def test_honest_tests_run_in_every_tier(world: World) -> None:
    report = await run_with(world, "open('made', 'w').write('x'); os.makedirs(os.environ['HOME'], exist_ok=True)")
    assert report.passed, report.output
    assert not report.failed
    assert not (world.repository / "made").exists()
