import asyncio
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import UserError
from assistant.jobs import MOST, Jobs
from assistant.safety.confinement.process import CommandResult, Deadline
from assistant.safety.sandbox import Sandbox, detect
from assistant.spool import Spool, gaps
from assistant.tools.base import NoHost, ToolContext, ToolError, ToolResult
from assistant.tools.registry import read_call
from assistant.workspace.files import Workspace
from model.format import ToolCall


@dataclass
class Host(NoHost):
    shown: list[str] = field(default_factory=list)
    event: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def detached(self) -> asyncio.Event:
        return self.event

    def put_out(self, text: str) -> None:
        self.shown.append(text)

    def whole_output(self, call: str) -> str | None:
        return "".join(f"line {n}\n" for n in range(1, 1001)) if call == "4.1" else None


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def context(tmp_path: Path, host: Host) -> ToolContext:
    root = tmp_path / "repo"
    root.mkdir()
    plain = Sandbox(root, "none", {"PATH": os.environ["PATH"]})
    return ToolContext(Workspace(root), plain, command_timeout=20, output_limit=300, host=host)


async def call(context: ToolContext, name: str, **arguments: object) -> ToolResult:
    return await read_call(ToolCall(name, arguments)).run(context)


async def until(path: Path) -> None:
    async with asyncio.timeout(10):
        while not path.exists():
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_a_command_in_the_background_is_read_waited_for_and_stopped(context: ToolContext, host: Host) -> None:
    root = context.workspace.root
    line = "echo one; touch up; until test -e go; do sleep 0.02; done; echo two; touch further; sleep 60"
    result = await call(context, "run_command", command=line, background=True)
    assert (result.ok, result.summary) == (True, "in the background: job1")
    assert "read_output with id job1" in result.output
    assert result.output.endswith("\none")
    (root / "go").touch()
    await until(root / "further")
    read = await call(context, "read_output", id="job1", wait=0)
    async with asyncio.timeout(10):  # what it wrote is in the pipe, and read from there a moment later
        while not (read := await call(context, "read_output", id="job1", wait=0)).output.endswith("one\ntwo"):
            await asyncio.sleep(0.01)
    assert read.output.startswith("job1: running, ")
    assert host.shown == ["one\n"]
    assert (await call(context, "stop_command", id="job1")).summary == "stopped"
    assert (await call(context, "read_output", id="job1", tail=1)).output == ("job1: stopped\ntwo\n(lines 2 to 2 of 2)")
    assert (await call(context, "stop_command", id="job1")).output == "job1 was over already: stopped."
    with pytest.raises(ToolError, match="no job 'job9'; there are job1"):
        await call(context, "stop_command", id="job9")


async def test_what_ends_at_once_is_no_job(context: ToolContext) -> None:
    result = await call(context, "run_command", command="echo no; exit 3", background=True)
    assert (result.ok, result.output, context.jobs.names) == (False, "exit code 3\nno", ())


async def test_a_running_command_streams_and_goes_to_the_background(context: ToolContext, host: Host) -> None:
    root = context.workspace.root
    line = "printf 'a\\033[31mb\\n'; touch up; until test -e go; do sleep 0.02; done; echo end; exit 5"
    running = asyncio.create_task(call(context, "run_command", command=line))
    await until(root / "up")
    async with asyncio.timeout(5):
        while not host.shown:
            await asyncio.sleep(0.01)
    assert host.shown == ["ab\n"]
    host.event.set()
    result = await running
    assert result.output.startswith("The user sent it to the background as job1; ")
    (root / "go").touch()
    read = await call(context, "read_output", id="job1", wait=10)
    assert read.output == "job1: exit code 5\nab\nend"
    assert host.shown == ["ab\n"]


async def test_a_command_that_is_given_up_is_ended_with_all_it_started(context: ToolContext) -> None:
    root = context.workspace.root
    line = "(sleep 60 & echo $! > child); echo $$ > pid; touch up; sleep 60"
    running = asyncio.create_task(call(context, "run_command", command=line))
    await until(root / "up")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not any(alive(int((root / name).read_text())) for name in ("pid", "child"))
    assert context.jobs.names == ()


@pytest.mark.parametrize("confined", [False, True])
async def test_no_job_outlives_the_session(context: ToolContext, confined: bool) -> None:
    root = context.workspace.root
    if confined:
        context = replace(context, sandbox=detect(root))
    stubborn = "trap '' TERM HUP INT; setsid sh -c 'while :; do date > beat; sleep 0.02; done' & sleep 60"
    for _ in range(2):
        await call(context, "run_command", command=stubborn, background=True)
    assert [job.id for job in context.jobs.running] == ["job1", "job2"]
    await until(root / "beat")
    await context.jobs.stop_all()
    assert context.jobs.running == ()
    (root / "beat").unlink(missing_ok=True)
    await asyncio.sleep(0.2)
    assert not (root / "beat").exists()


async def test_the_deadline_moves_when_a_command_goes_to_the_background(context: ToolContext, host: Host) -> None:
    short = replace(context, command_timeout=0.5)
    slow = asyncio.create_task(call(short, "run_command", command="touch up; sleep 0.9; echo late"))
    await until(context.workspace.root / "up")
    host.event.set()
    await slow
    read = await call(short, "read_output", id="job1", wait=10)
    assert read.output == "job1: exit code 0\nlate"
    ended = await call(replace(short, host=NoHost()), "run_command", command="echo x; sleep 9")
    assert (ended.ok, ended.output) == (False, "stopped after 0.5 s without an end\nx")


async def test_there_are_at_most_so_many_and_ids_are_not_used_again() -> None:
    jobs = Jobs()

    async def endless(take: object, deadline: Deadline) -> CommandResult:
        await asyncio.Event().wait()
        raise AssertionError

    begun = [jobs.begin("x", endless, 1, print) for _ in range(MOST + 1)]
    for job in begun[:MOST]:
        jobs.detach(job)
    with pytest.raises(UserError, match="8 commands run in the background already \\(job1, "):
        jobs.detach(begun[MOST])
    await begun[0].stop()
    jobs.detach(begun[MOST])
    assert [job.id for job in jobs.running] == [f"job{n}" for n in range(2, MOST + 2)]
    await jobs.stop_all()
    assert {job.state() for job in begun} == {"stopped"}


async def test_what_cannot_be_started_says_so(context: ToolContext) -> None:
    gone = replace(context.sandbox, tier="bubblewrap", bwrap=Path("/nothing/bwrap"))
    with pytest.raises(ToolError, match="could not be started"):
        await call(replace(context, sandbox=gone), "run_command", command="true", background=True)


async def test_the_output_of_a_call_is_read_in_pieces_that_fit(context: ToolContext) -> None:
    first = (await call(context, "read_output", id="4.1")).output
    assert first.startswith("line 1\nline 2\n")
    assert "of 1,000; read on with from_line " in first
    assert len(first) < context.output_limit + 100
    following = int(first.rstrip(")").rpartition(" ")[2])
    assert (await call(context, "read_output", id="4.1", from_line=following)).output.startswith(f"line {following}\n")
    assert (await call(context, "read_output", id="4.1", from_line=7, to_line=8)).output == (
        "line 7\nline 8\n(lines 7 to 8 of 1,000; read on with from_line 9)"
    )
    assert (await call(context, "read_output", id="4.1", tail=9999)).output.endswith(
        "line 1000\n(lines 968 to 1,000 of 1,000)"
    )
    for wrong, said in (
        ({"id": "9.9"}, "no output with the id '9.9'"),
        ({"id": "4.1", "from_line": 2000}, "has 1,000 lines"),
        ({"id": "4.1", "from_line": 2, "tail": 3}, "both"),
    ):
        with pytest.raises(ToolError, match=said):
            await call(context, "read_output", **wrong)


async def test_long_output_is_kept_whole_beside_what_is_shown(context: ToolContext) -> None:
    result = await call(context, "run_command", command="seq 1 400")
    assert len(result.output) < 400
    assert result.whole == "exit code 0\n" + "\n".join(map(str, range(1, 401)))
    assert (await call(context, "run_command", command="seq 1 4")).whole == ""


@given(st.lists(st.text("ab\n", max_size=30), max_size=60), st.integers(2, 200))
def test_a_spool_numbers_lines_as_they_came(pieces: list[str], limit: int) -> None:
    spool, text = Spool(limit), "".join(pieces)
    for piece in pieces:
        spool.add(piece)
    whole = text.split("\n") if text else []
    whole = whole if not whole or whole[-1] else whole[:-1]
    assert spool.count == len(whole)
    for number, line in spool.lines():
        assert line in whole[number - 1]
    if len(text) <= limit:
        assert [line for _, line in spool.lines()] == whole


def test_a_spool_is_bounded_and_says_what_fell_out() -> None:
    spool = Spool(1_000)
    for number in range(1, 100_001):
        spool.add(f"{number}\n")
    lines = spool.lines()
    assert lines[0] == (1, "1")
    assert lines[-1] == (100_000, "100000")
    assert sum(len(line) for _, line in lines) < 100_000
    assert any("were not kept" in line for line in gaps(lines))
    spool.add("x" * 5_000)
    assert max(len(line) for _, line in spool.lines()) == 2_000


def test_a_line_that_comes_in_pieces_is_wrapped_too() -> None:
    spool = Spool()
    for _ in range(1_000):
        spool.add("x" * 7)
    assert [len(line) for _, line in spool.lines()] == [2_000, 2_000, 2_000, 1_000]
    spool.add("\ny")
    assert spool.lines()[-1] == (5, "y")
