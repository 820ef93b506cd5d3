import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.safety.sandbox import Limits, Sandbox, SandboxError, detect

SANDBOXED = detect(Path(__file__).parent).contains
needs_sandbox = pytest.mark.skipif(not SANDBOXED, reason="bubblewrap does not work here")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    (path / "secret").write_text("sesame")
    return path


@pytest.fixture
def repository(home: Path) -> Path:
    path = home / "work" / "repo"
    path.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", path], check=True)
    (path / "a.txt").write_text("old\n")
    return path


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "API_TOKEN": "hush"}


@pytest.fixture
def sandbox(repository: Path, home: Path) -> Sandbox:
    return detect(repository, environ=environment(home))


@pytest.fixture(params=["overlay", "copy", "none"])
def throwaway(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Sandbox]:
    match request.param:
        case "none":
            yield Sandbox(sandbox.repository, "none", sandbox.environ)
        case _ if not sandbox.contains:
            pytest.skip("bubblewrap does not work here")
        case "overlay" if not sandbox.overlay:
            pytest.skip("overlays do not work here")
        case kind:
            yield replace(sandbox, overlay=kind == "overlay")


async def test_output_and_exit_code(sandbox: Sandbox) -> None:
    result = await sandbox.run("echo out; echo err >&2; exit 3", timeout=10)
    assert (result.exit_code, result.output, result.timed_out) == (3, "out\nerr\n", False)


@needs_sandbox
async def test_what_vanishes_while_it_is_being_hidden_costs_another_try(sandbox: Sandbox, tmp_path: Path) -> None:
    count, real = tmp_path / "count", sandbox.bwrap
    fake = tmp_path / "bwrap"
    said = "bwrap: Can't mkdir parents for /x/socket: Read-only file system"
    fake.write_text(
        f'#!/bin/sh\necho >> {count}\n[ $(wc -l < {count}) -gt 2 ] && exec {real} "$@"\necho "{said}"\nexit 1\n'
    )
    fake.chmod(0o755)
    done = await replace(sandbox, bwrap=fake).run("echo ran", timeout=10)
    assert (done.output, len(count.read_text())) == ("ran\n", 3)


async def test_a_missing_command_is_127_and_a_list_is_no_shell(sandbox: Sandbox) -> None:
    assert (await sandbox.run("no-such-command", timeout=10)).exit_code == 127
    assert (await sandbox.run(["echo", "$HOME; ls"], timeout=10)).output == "$HOME; ls\n"


async def test_the_repository_is_written_and_the_python_of_the_path_runs(sandbox: Sandbox) -> None:
    result = await sandbox.run("""python3 -c 'open("b.txt", "w").write("new")'""", timeout=20)
    assert result.exit_code == 0, result.output
    assert (sandbox.repository / "b.txt").read_text() == "new"


@needs_sandbox
async def test_what_must_not_be_reached_is_not(sandbox: Sandbox) -> None:
    probes = await sandbox.probe()
    assert [probe.name for probe in probes if not probe.held] == []
    assert len(probes) == 14
    assert not list(sandbox.repository.parent.rglob("*kat-probe*"))


async def test_the_same_attempts_succeed_without_a_sandbox(sandbox: Sandbox) -> None:
    probes = await Sandbox(sandbox.repository, "none", sandbox.environ).probe()
    broken = {probe.name for probe in probes if not probe.held}
    assert {"write outside the repository", "write .git", "read a file in home", "reach the network"} <= broken
    assert not list(sandbox.repository.parent.rglob("*kat-probe*"))


@needs_sandbox
@pytest.mark.parametrize(
    "attack",
    [
        "echo x > .git/config",
        "rm -rf .git",
        "mv .git git2",
        "mkdir -p .git/hooks && echo x > .git/hooks/post-checkout",
        "echo x > ../escaped",
        "cat ../../secret",
        "ln -s ../../secret link && cat link",
        "cat /etc/shadow",
        "kill -9 $PPID; test -d /proc/self || exit 1; cat /proc/1/environ",
        "env",
    ],
)
async def test_attacks_fail(sandbox: Sandbox, attack: str) -> None:
    before = (sandbox.repository / ".git" / "config").read_text()
    shadow = Path("/etc/shadow")
    result = await sandbox.run(attack, timeout=10)
    host = sandbox.repository.parent
    assert not os.access(shadow, os.R_OK) or shadow.read_text().splitlines()[0] not in result.output
    assert "sesame" not in result.output
    assert "hush" not in result.output
    assert not (host / "escaped").exists()
    assert (sandbox.repository / ".git" / "config").read_text() == before
    assert not (sandbox.repository / ".git" / "hooks" / "post-checkout").exists()


@needs_sandbox
async def test_a_missing_git_directory_cannot_be_made_and_leaves_nothing(home: Path) -> None:
    plain = home / "plain"
    plain.mkdir()
    sandbox = detect(plain, environ=environment(home))
    assert list(plain.iterdir()) == []
    await sandbox.run("git init -q . ; mkdir -p .git/hooks; echo x > .git/config; touch made", timeout=10)
    assert [path.name for path in plain.iterdir()] == ["made"]


@needs_sandbox
async def test_settings_inside_the_repository_are_masked(repository: Path, home: Path) -> None:
    ours, later = repository / "conf", repository / "later" / "conf"
    ours.mkdir()
    (ours / "key").write_text("sesame")
    sandbox = detect(repository, config_dirs=[ours, later], environ=environment(home))
    result = await sandbox.run("cat conf/key; mkdir -p later/conf; echo x > later/conf/hook", timeout=10)
    assert "sesame" not in result.output
    assert (ours / "key").read_text() == "sesame"
    assert not (repository / "later").exists()


@needs_sandbox
async def test_without_proc_python_still_runs(sandbox: Sandbox) -> None:
    bare = replace(sandbox, tier="bubblewrap-no-proc")
    assert bare.works()
    result = await bare.run("ls /proc; python3 -c 'print(6 * 7)'", timeout=20)
    assert result.output == "42\n"


async def test_a_throwaway_view_changes_nothing(throwaway: Sandbox) -> None:
    result = await throwaway.run("echo new > a.txt; touch b.txt; cat a.txt; ls", timeout=10, throwaway=True)
    assert result.output == "new\na.txt\nb.txt\n"
    assert [path.name for path in throwaway.repository.iterdir() if path.name != ".git"] == ["a.txt"]
    assert (throwaway.repository / "a.txt").read_text() == "old\n"


async def test_time_runs_out_and_children_die(sandbox: Sandbox) -> None:
    started = time.monotonic()
    result = await sandbox.run("echo first; (sleep 3; touch late) & sleep 60", timeout=0.5)
    assert (result.timed_out, result.exit_code, result.output) == (True, 124, "first\n")
    assert time.monotonic() - started < 2.5
    await asyncio.sleep(3)
    assert not (sandbox.repository / "late").exists()


async def test_a_daemon_that_keeps_the_pipe_open_does_not_hold_us(sandbox: Sandbox) -> None:
    started = time.monotonic()
    result = await sandbox.run("sleep 20 & echo done", timeout=15)
    assert result.output == "done\n"
    assert time.monotonic() - started < 5


async def test_a_cancelled_command_is_killed(sandbox: Sandbox) -> None:
    task = asyncio.create_task(sandbox.run("sleep 1; touch late", timeout=30))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(1.2)
    assert not (sandbox.repository / "late").exists()


async def test_megabytes_keep_head_and_tail(sandbox: Sandbox) -> None:
    seen: list[int] = []
    command = "echo head; yes | head -c 5000000; echo tail"
    result = await sandbox.run(command, timeout=20, output_limit=1000, on_output=lambda text: seen.append(len(text)))
    assert result.truncated
    assert result.output.startswith("head\n")
    assert result.output.endswith("tail\n")
    assert "characters left out" in result.output
    assert len(result.output) < 1100
    assert sum(seen) == 5_000_010


async def test_bytes_that_are_no_text(sandbox: Sandbox) -> None:
    result = await sandbox.run(r"printf 'a\377b\303'; sleep 0.1; printf '\251'", timeout=10)
    assert result.output == "a\ufffdbé"


async def test_a_failing_listener_ends_the_command(sandbox: Sandbox) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await sandbox.run("echo x; sleep 30", timeout=20, on_output=fail)


async def test_memory_and_file_size_are_limited(sandbox: Sandbox) -> None:
    small = replace(sandbox, limits=Limits(memory=200 << 20, file_size=1 << 20))
    eat = await small.run("""python3 -c 'x = bytearray(400 << 20)'""", timeout=20)
    assert "MemoryError" in eat.output
    assert (await small.run("head -c 3000000 /dev/zero > big", timeout=10)).exit_code != 0
    assert (sandbox.repository / "big").stat().st_size <= 1 << 20


async def test_a_directory_that_is_gone_is_a_sentence(sandbox: Sandbox) -> None:
    for each in (sandbox, Sandbox(sandbox.repository, "none", sandbox.environ)):
        with pytest.raises(SandboxError, match=r"could not be (started|set up)"):
            await each.run("true", cwd=sandbox.repository / "gone", timeout=5)


def test_a_bwrap_that_fails_or_lies_in_the_repository_is_not_used(repository: Path, home: Path, tmp_path: Path) -> None:
    for place in (repository, tmp_path):
        (place / "bwrap").write_text("#!/bin/sh\nexit 1\n")
        (place / "bwrap").chmod(0o755)
        found = detect(repository, environ=environment(home) | {"PATH": f"{place}:{os.environ['PATH']}"})
        assert found.bwrap != place / "bwrap"


def test_a_probe_has_a_session_of_its_own_so_that_ctrl_c_does_not_halve_it(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "bwrap").write_text(
        f'#!{sys.executable}\nimport os\nprint(os.getsid(0), file=open("{tmp_path}/id", "w"))'
    )
    (tmp_path / "bwrap").chmod(0o755)
    assert Sandbox(repository, "bubblewrap", {}, bwrap=tmp_path / "bwrap").works()
    assert int((tmp_path / "id").read_text()) != os.getsid(0)


@needs_sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_root_works_in_the_repository_of_another_user(repository: Path, home: Path) -> None:
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 12345, 12345)
    sandbox = detect(repository, environ=environment(home))
    result = await sandbox.run("echo new > a.txt; echo x > .git/x; echo y > /etc/kat-x; git status --short", timeout=10)
    assert (repository / "a.txt").read_text() == "new\n"
    assert not (repository / ".git" / "x").exists()
    assert "?? a.txt" in result.output


@needs_sandbox
async def test_our_own_interpreter_is_always_there(sandbox: Sandbox) -> None:
    bare = replace(sandbox, environ={**sandbox.environ, "PATH": "/usr/bin:/bin"})
    result = await bare.run([sys.executable, "-c", "import pydantic; print('here')"], timeout=20)
    assert result.output == "here\n"
