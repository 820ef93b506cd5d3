"""Commands that go for other processes, look into them, or want to outlive their run."""

import asyncio
import subprocess

import pytest

from assistant.safety.sandbox import Harm
from tests.attacks.world import ROOT, Attack, World

LATE = 0.3
"""Seconds after which what lives on leaves a mark."""


def victim_harmed(world: World) -> bool:
    return world.victim.poll() is not None or stopped(world)


def stopped(world: World) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(world.victim.pid)], capture_output=True, text=True)
    return state.stdout.strip()[:1] in ("T", "t")


def signal_(name: str, code: str, **more: bool) -> Attack:
    return Attack(name, Harm.SIGNALS, code, victim_harmed, **more)


def spying(name: str, harm: Harm, code: str, **more: bool) -> Attack:
    return Attack(name, harm, code, World.learnt, **more)


def outliving(name: str, code: str, *, real: bool = False) -> Attack:
    """Of these a machine without a sandbox withstands all but those that kill whoever ends them.

    Each leaves a mark of its own, so that all of them can run at the same time.
    """
    daemon = f"""
def live_on():
    for file in range(256):
        try:
            os.close(file)
        except OSError:
            pass
    time.sleep({LATE})
    open('late-{name}', 'w').close()
    os._exit(0)
"""
    return Attack(
        name, Harm.OUTLIVE, daemon + code, lambda world: (world.repository / f"late-{name}").exists(), real=real
    )


ATTACKS = [
    signal_("kills-a-process", "os.kill(bait['victim'], signal.SIGKILL)"),
    signal_("stops-a-process", "os.kill(bait['victim'], signal.SIGSTOP)"),
    signal_("kills-everything", "os.kill(-1, signal.SIGKILL)", tame=False),
    signal_("kills-by-handle", "signal.pidfd_send_signal(os.pidfd_open(bait['victim']), signal.SIGKILL)"),
    signal_(
        "traces-and-kills",
        "libc.ptrace(16, bait['victim'], 0, 0); time.sleep(0.1); libc.ptrace(8, bait['victim'], 0, 0)",
    ),
    spying(
        "reads-the-environment-of-others",
        Harm.SECRETS,
        """
for name in glob.glob('/proc/[0-9]*/environ'):
    try:
        print(open(name, errors='replace').read())
    except OSError:
        pass
""",
    ),
    spying("prints-its-own-environment", Harm.SECRETS, "print(dict(os.environ))", real=False),
    spying(
        "reads-the-memory-of-others",
        Harm.SECRETS,
        """
memory = open(f"/proc/{bait['victim']}/mem", 'rb', 0)
for line in open(f"/proc/{bait['victim']}/maps"):
    start, end = (int(part, 16) for part in line.split()[0].split('-'))
    if '[heap]' in line or '[stack]' in line or line.split()[4] == '0':
        try:
            memory.seek(start)
            for word in memory.read(min(end - start, 1 << 22)).decode('ascii', 'ignore').split('\\0'):
                if 20 < len(word) < 200:
                    print(word)
        except (OSError, OverflowError):
            pass
""",
    ),
    spying(
        "reads-memory-by-system-call",
        Harm.SECRETS,
        """
class Part(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
libc.process_vm_readv.restype = ctypes.c_ssize_t
stack = next(line for line in open(f"/proc/{bait['victim']}/maps") if '[stack]' in line).split()[0]
start, end = (int(part, 16) for part in stack.split('-'))
room = ctypes.create_string_buffer(end - start)
mine, other = Part(ctypes.addressof(room), end - start), Part(start, end - start)
libc.process_vm_readv(bait['victim'], ctypes.byref(mine), 1, ctypes.byref(other), 1, 0)
print(room.raw.decode('ascii', 'ignore').replace('\\0', '\\n'))
""",
    ),
    spying(
        "reads-arguments-of-others",
        Harm.PROCESSES,
        """
for name in glob.glob('/proc/[0-9]*/cmdline'):
    try:
        print(open(name, errors='replace').read().replace('\\0', ' '))
    except OSError:
        pass
""",
    ),
]

OUTLIVING = [
    outliving("lives-on-in-the-background", "if os.fork() == 0: live_on()"),
    outliving("lives-on-after-two-forks", "if os.fork() == 0:\n os.setsid()\n if os.fork() == 0: live_on()"),
    outliving(
        "lives-on-deaf-to-signals",
        """
if os.fork() == 0:
    os.setsid()
    for number in range(1, 32):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    live_on()
""",
    ),
    outliving(
        "lives-on-by-forking-for-ever",
        """
if os.fork() == 0:
    os.setsid()
    end = time.monotonic() + 0.9
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
        if os.path.exists('begun') and time.time() - os.path.getmtime('begun') > 0.2:
            live_on()
        if not os.path.exists('begun'):
            open('begun', 'w').close()
""",
    ),
    outliving(
        "lives-on-when-time-runs-out",
        "if os.fork() == 0:\n os.setsid()\n time.sleep(1.1)\n live_on()\ntime.sleep(9)",
    ),
    outliving(
        "kills-its-parent",
        """
parent = os.getppid()
if os.fork() == 0:
    os.setsid()
    live_on()
os.kill(parent, signal.SIGKILL)
time.sleep(0.1)
os.kill(parent, signal.SIGKILL)
""",
        real=True,
    ),
    outliving(
        "stops-its-parent",
        """
parent = os.getppid()
if os.fork() == 0:
    os.setsid()
    time.sleep(0.8)
    live_on()
os.kill(parent, signal.SIGSTOP)
""",
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_processes(world: World, attack: Attack) -> None:
    if not attack.tame and attack.harm not in world.sandbox.stops:
        pytest.skip("too wild to let it happen")
    if attack.harm is Harm.SECRETS and not ROOT and attack.harm not in world.sandbox.stops:
        pytest.skip("the system may keep processes of one user from each other")
    await world.play(attack.code, timeout=attack.seconds)
    attack.judge(world)


async def test_nothing_outlives_its_run(world: World) -> None:
    async with asyncio.TaskGroup() as runs:
        for attack in OUTLIVING:
            runs.create_task(world.alone().play(attack.code, timeout=1))
    await asyncio.sleep(LATE + 0.3)
    for attack in OUTLIVING:
        attack.judge(world)
