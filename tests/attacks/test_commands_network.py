"""Commands that phone home: by TCP, UDP, a name server, sockets of this machine."""

import asyncio
import socket
from contextlib import suppress

import pytest

from assistant.safety.sandbox import Harm
from tests.attacks.world import Attack, World, heard, received

DATAGRAM_BY_PAIR = "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', bait['datagram'])"


def caller(name: str, harm: Harm, code: str, bait: str) -> Attack:
    return Attack(name, harm, code, lambda world: heard(getattr(world, bait)))


def sender(name: str, harm: Harm, code: str, bait: str) -> Attack:
    return Attack(name, harm, code, lambda world: received(getattr(world, bait)))


ATTACKS = [
    caller("calls-by-tcp", Harm.TCP, "socket.create_connection(('127.0.0.1', bait['tcp']), 2)", "tcp"),
    caller(
        "calls-by-tcp-over-ipv6",
        Harm.TCP,
        "socket.create_connection(('::ffff:127.0.0.1', bait['tcp']), 2)",
        "tcp",
    ),
    caller(
        "calls-with-a-fast-open",
        Harm.TCP,
        """
caller = socket.socket()
caller.settimeout(2)
caller.sendto(b'x', getattr(socket, 'MSG_FASTOPEN', 0x20000000), ('127.0.0.1', bait['tcp']))
""",
        "tcp",
    ),
    caller(
        "calls-from-a-shell",
        Harm.TCP,
        "subprocess.run(['bash', '-c', f\"echo x > /dev/tcp/127.0.0.1/{bait['tcp']}\"])",
        "tcp",
    ),
    sender(
        "sends-by-udp",
        Harm.UDP,
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', bait['udp']))",
        "udp",
    ),
    sender(
        "asks-a-name-server",
        Harm.UDP,
        """
query = b'\\x12\\x34\\x01\\0\\0\\1\\0\\0\\0\\0\\0\\0\\x06secret\\x04test\\0\\0\\1\\0\\1'
asker = socket.socket(type=socket.SOCK_DGRAM)
asker.connect(('127.0.0.1', bait['udp']))
asker.send(query)
""",
        "udp",
    ),
    caller("calls-a-socket-file", Harm.SOCKETS, "socket.socket(socket.AF_UNIX).connect(bait['stream'])", "stream"),
    caller(
        "calls-an-abstract-socket",
        Harm.SOCKETS,
        "socket.socket(socket.AF_UNIX).connect('\\0' + bait['abstract'])",
        "abstract",
    ),
    sender(
        "sends-to-a-socket-file",
        Harm.SOCKETS,
        "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', bait['datagram'])",
        "datagram",
    ),
    sender("sends-by-a-pair-of-sockets", Harm.SOCKETS, DATAGRAM_BY_PAIR, "datagram"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_network(world: World, attack: Attack) -> None:
    await world.play(attack.code, timeout=attack.seconds)
    attack.judge(world)


async def test_a_socket_in_the_repository(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(world.repository / "s"))
        listener.listen()
        listener.setblocking(False)
        await world.play("socket.socket(socket.AF_UNIX).connect('s')")
        assert heard(listener) is (Harm.SOCKETS not in world.sandbox.stops), world.output


async def test_nobody_outside_is_served(world: World) -> None:
    """A door that a command opens for others is as good as a call."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    serving = f"server = socket.create_server(('127.0.0.1', {port})); server.settimeout(0.5); server.accept()"
    playing = asyncio.create_task(world.play(serving))
    served = False
    while not playing.done():
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            served = True
        await asyncio.sleep(0.02)
    await playing
    assert served is (Harm.TCP not in world.sandbox.stops), world.output


async def test_with_the_network_opened_only_the_network_is_open(world: World) -> None:
    if Harm.SOCKETS not in world.sandbox.stops:
        pytest.skip("nothing is closed here")
    code = f"""
import socket
for attempt in (
    lambda: socket.create_connection(("127.0.0.1", {world.tcp.getsockname()[1]}), 2),
    lambda: socket.socket(socket.AF_UNIX).connect("\\0{world.abstract_name}"),
    lambda: socket.socket(socket.AF_UNIX).connect("{world.stream.getsockname()}"),
    lambda: open("{world.home}/.ssh/id_rsa").read(),
    lambda: open("{world.outside}/precious", "a").write("x"),
):
    try:
        attempt()
        print("done")
    except OSError as error:
        print("refused")
"""
    result = await world.sandbox.run(["python3", "-c", code], timeout=10, network=True)
    assert result.output.split() == ["done", "refused", "refused", "refused", "refused"]
    assert heard(world.tcp)
    assert not heard(world.abstract)
    assert not heard(world.stream)
