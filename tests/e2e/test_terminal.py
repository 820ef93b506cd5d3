"""The interface in a real pseudo-terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

import pytest

from tests.e2e.conftest import KAT, environment, reply

pytestmark = pytest.mark.terminal


class Terminal:
    """A child in a pseudo-terminal, and all that it wrote."""

    def __init__(self, arguments, env, columns, lines):
        self.seen = b""
        self.child, self.fd = pty.fork()
        if self.child == 0:
            os.execve(arguments[0], arguments, env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, words, seconds=30):
        """Wait until the words were written, escape sequences apart."""
        end = time.monotonic() + seconds
        while words not in self.text():
            assert time.monotonic() < end, self.text()[-3000:]
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 65_536)

    def text(self):
        plain = re.sub(
            rb"\x1b(\[[0-9;?<>=:]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[PX^_].*?\x1b\\|[@-Z\\-_])", b" ", self.seen
        )
        return re.sub(r"\s+", " ", plain.decode(errors="replace"))

    def ended(self, seconds=20):
        """The exit status; whatever is still written is read."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(self.child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65_536)
                except OSError:
                    continue
        os.kill(self.child, signal.SIGKILL)
        raise AssertionError("it did not end")


@pytest.fixture
def terminal(kat, repository):
    started = []

    def start(*arguments, columns=100, lines=30, **extra):
        env = environment(kat.home, **{"TERM": "xterm-256color", **extra})
        started.append(Terminal([*KAT, str(repository), *arguments], env, columns, lines))
        return started[-1]

    yield start
    for one in started:
        os.close(one.fd)


def test_a_conversation_with_an_approval(terminal, repository, serve):
    edit = ("edit_file", {"path": "shop/price.py", "old": " + 1", "new": ""})
    server = serve({"reply": reply("I mend it.", edit, think="Off by one.")}, {"reply": reply("It is mended.")})
    screen = terminal("--engine", server.url)
    screen.until("ready")
    screen.type("mend it\r")
    screen.until("this session")
    time.sleep(0.7)
    screen.type("y")
    screen.until("It is mended.")
    assert "+ 1" not in (repository / "shop/price.py").read_text()
    screen.type("\x11")
    assert screen.ended() == 0
    assert b"\x1b[?1049l" in screen.seen


@pytest.mark.parametrize(("columns", "lines"), [(20, 24), (20, 6), (200, 60)])
def test_any_size_of_terminal(terminal, serve, columns, lines):
    server = serve({"reply": reply("A short answer.")})
    screen = terminal(columns=columns, lines=lines, KAT_ENGINE=server.url)
    screen.until("KAT" if lines > 6 else "Ask")
    screen.type("hello\r")
    screen.until("answer.")
    screen.type("\x11")
    assert screen.ended() == 0


def test_escape_stops_and_what_came_stays(terminal, serve):
    server = serve({"reply": reply("word " * 500), "chunk": 5, "pause": 0.02}, {"reply": reply("Next.")})
    screen = terminal(KAT_ENGINE=server.url)
    screen.until("ready")
    screen.type("go\r")
    screen.until("word word")
    screen.type("\x1b")
    screen.until("stopping after this step")
    screen.type("\x1b")
    screen.until("stopped")
    screen.type("again\r")
    screen.until("Next.")
    screen.type("\x03\x03")
    assert screen.ended() == 0


def test_an_engine_that_is_not_there_is_said_in_the_interface(terminal):
    screen = terminal(KAT_ENGINE="http://127.0.0.1:9")
    screen.until("127.0.0.1:9", seconds=60)
    screen.type("\x11")
    assert screen.ended() == 0


def test_a_hang_up_ends_it(terminal, serve):
    screen = terminal(KAT_ENGINE=serve().url)
    screen.until("ready")
    os.kill(screen.child, signal.SIGTERM)
    screen.ended()
