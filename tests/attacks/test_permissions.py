"""Attempts to run what was not approved. Each goes through a real session, or through the judge of one."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from assistant.config import Settings
from assistant.events import ApprovalAsked, CallFinished, Decision, Event, RunFinished, RunStatus
from assistant.opening import Place, open_pilot
from assistant.pilot import Pilot
from assistant.safety.permissions import Access, Permission, Permissions
from assistant.safety.sandbox import Sandbox
from assistant.think import HOLDS
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import ThinkRequest
from tests.e2e.conftest import make_repository, reply

ALLOWED = ("command:git status*", "command:cat *", "command:make test*", "command:find *", "command:xargs *")


@pytest.mark.parametrize(
    "line",
    [
        "git status; rm -rf x",
        "git status && rm -rf x",
        "git status & rm -rf x",
        "git status || rm -rf x",
        "git status | rm -rf x",
        "git status\nrm -rf x",
        "git status $(rm -rf x)",
        'git status "$(rm -rf x)"',
        "git status `rm -rf x`",
        'git status "`rm -rf x`"',
        "git status ${x:-$(rm -rf x)}",
        "git status ${x#$(rm -rf x)}",
        "git status $(( $(rm -rf x) ))",
        "git status <(rm -rf x)",
        "git status > >(rm -rf x)",
        "cat <<E\n$(rm -rf x)\nE",
        "cat <<E\n`rm -rf x`\nE",
        "cat <<E\nt\nE\nrm -rf x",
        "git status #\nrm -rf x",
        "git statusx",
        "git status\\\nx",
        "git stat\\\nus; r\\\nm -rf x",
        "$'\\x72m' -rf x",
        "cat $'\\'; rm -rf x; cat $'\\'",
        "{rm,-rf,x}",
        "IFS=,; a=rm,-rf,x; $a",
        "cat x; $0 -c 'rm -rf x'",
        "((rm -rf x))",
        "[[ a || rm -rf x ]]",
        "x='a[$(rm -rf x)]'; cat $((x))",
        "git() { rm -rf x; }; git status",
        "alias git=rm\ngit status",
        "PATH=.:$PATH git status",
        "GIT_PAGER='rm -rf x' git status",
        "LD_PRELOAD=./x.so git status",
        "export PATH=.; git status",
        "git -c core.pager='rm -rf x' status",
        "git -c alias.status='!rm -rf x' status",
        "git -c core.fsmonitor='rm -rf x' status",
        "find . -exec rm -rf {} +",
        "find . -exec sh -c 'rm -rf x' \\;",
        "xargs rm -rf",
        "cat x | xargs -I{} sh -c '{}'",
        "env -S 'rm -rf x'",
        "env git status; env rm x",
        "make test SHELL='sh -c \"rm -rf x\"'",
        "make test 'X=$(shell rm -rf x)'",
        "cat script | sh",
        "cat x | tee /etc/passwd",
        "eval \"git status; rm -rf x\"",
        "trap 'rm -rf x' EXIT; git status",
        "sudo git status",
        "nohup timeout 5 sh -c 'git status; rm -rf x'",
        "./git status",
        "/tmp/git status",
        "git status > important.py",
        "git\u00a0status",
        "git status \x1b]; rm -rf x",
    ],
)  # fmt: skip
def test_a_pattern_does_not_let_another_command_through(line: str) -> None:
    permission = Permission(Access.COMMAND, line)
    assert Permissions(ALLOWED, interactive=False, sandboxed=True).judge(permission).action == "deny"
    assert Permissions(ALLOWED, interactive=True, sandboxed=False).judge(permission).action == "ask"


@dataclass
class Played:
    """A session without a sandbox on a scripted model, and what was asked."""

    pilot: Pilot
    root: Path
    events: list[Event]

    async def play(self, on: Callable[[ApprovalAsked], None] | None = None) -> RunFinished:
        async for event in self.pilot.run("go", ThinkRequest.AUTO):
            self.events.append(event)
            if on and isinstance(event, ApprovalAsked):
                on(event)
        end = self.events[-1]
        assert isinstance(end, RunFinished)
        return end

    @property
    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.events if isinstance(event, CallFinished)]

    @property
    def asked(self) -> list[ApprovalAsked]:
        return [event for event in self.events if isinstance(event, ApprovalAsked)]


Open = Callable[..., AbstractAsyncContextManager[Played]]


@pytest.fixture
def played(tmp_path: Path) -> Open:
    """Opens a session in which the model makes the given calls, one a step."""

    @asynccontextmanager
    async def start(
        *calls: tuple[str, dict[str, object]],
        files: dict[str, str] | None = None,
        allow: tuple[str, ...] = (),
        interactive: bool = True,
        config: Path | None = None,
    ) -> AsyncIterator[Played]:
        root = tmp_path / "repo"
        if not root.exists():
            make_repository(root, {"a.py": "x = 1\n"} | (files or {}))
        environ = {
            "KAT_STATE": str(tmp_path / "state"),
            "KAT_CONFIG": str(config or tmp_path / "config"),
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
        }
        bare = Sandbox(root.resolve(), "none", environ)
        script = [*({"reply": reply("", call)} for call in calls), {"reply": reply("Done.")}]
        with ScriptedServer(script) as server:
            engine = HttpEngine(server.url, retries=1, backoff=0.01)
            pilot = await open_pilot(
                Place(root, environ=environ),
                engine,
                Settings(think_without=HOLDS),
                allow=allow,
                interactive=interactive,
                sandbox=bare,
            )
            try:
                yield Played(pilot, root, [])
            finally:
                await pilot.aclose()

    return start


def command(line: str, **more: object) -> tuple[str, dict[str, object]]:
    return "run_command", {"command": line, **more}


SCRIPT = "#!/bin/sh\necho good > made\n"
EVIL = "#!/bin/sh\necho evil > made\n"


@pytest.mark.parametrize("line", ["./build.sh", "sh build.sh", "env sh ./build.sh"])
async def test_a_script_changed_after_the_question_does_not_run(played: Open, line: str) -> None:
    async with played(command(line), files={"build.sh": SCRIPT}) as session:
        script = session.root / "build.sh"
        script.chmod(0o755)

        def swap(event: ApprovalAsked) -> None:
            script.write_text(EVIL)
            session.pilot.decide(event.id, Decision.ONCE)

        await session.play(swap)
        assert session.outcomes == ["failed"]
        assert not (session.root / "made").exists()


async def test_a_program_replaced_by_a_link_after_the_question_does_not_run(played: Open, tmp_path: Path) -> None:
    (tmp_path / "evil").write_text(EVIL)
    (tmp_path / "evil").chmod(0o755)
    async with played(command("./build.sh"), files={"build.sh": SCRIPT}) as session:
        script = session.root / "build.sh"

        def swap(event: ApprovalAsked) -> None:
            script.unlink()
            script.symlink_to(tmp_path / "evil")
            session.pilot.decide(event.id, Decision.ONCE)

        await session.play(swap)
        assert session.outcomes == ["failed"]
        assert not (session.root / "made").exists()


async def test_leave_for_the_session_ends_when_the_script_changes(played: Open) -> None:
    async with played(command("sh build.sh"), command("sh build.sh"), files={"build.sh": SCRIPT}) as session:
        answers = [Decision.SESSION, Decision.NO]

        def answer(event: ApprovalAsked) -> None:
            session.pilot.decide(event.id, answers.pop(0))

        (session.root / "build.sh").write_text(SCRIPT + "printf '#!/bin/sh\\necho evil > made\\n' > build.sh\n")
        await session.play(answer)
        assert len(session.asked) == 2
        assert session.outcomes == ["ok", "denied"]
        assert (session.root / "made").read_text() == "good\n"


async def test_an_answer_is_good_for_one_question(played: Open) -> None:
    async with played(command("echo 1 > one"), command("echo 2 > two")) as session:

        def answer(event: ApprovalAsked) -> None:
            if event.id == "1.1":
                for _ in range(3):
                    session.pilot.decide("1.1", Decision.ONCE)
                session.pilot.decide("2.1", Decision.ALWAYS)
                return
            session.pilot.decide("1.1", Decision.ONCE)
            session.pilot.stop()

        end = await session.play(answer)
        assert end.status is RunStatus.STOPPED
        assert (session.root / "one").exists()
        assert not (session.root / "two").exists()


HOPED = ["kat.toml", "config.toml", "rules.toml", ".kat/rules.toml", ".env", ".config/kat-pilot/rules.toml"]


@pytest.mark.parametrize("name", HOPED)
async def test_nothing_in_the_repository_gives_leave(played: Open, name: str) -> None:
    text = '[[allow]]\nrule = "all"\n' if name != ".env" else "KAT_CONFIG=.\nKAT_ALLOW=all\n"
    async with played(command("echo x > made"), files={name: text}, interactive=False) as session:
        end = await session.play()
        assert end.status is RunStatus.REFUSED
        assert "--allow" in end.message
        assert not (session.root / "made").exists()


async def test_a_rule_file_inside_the_repository_does_not_count(played: Open, tmp_path: Path) -> None:
    rules = {"conf/rules.toml": '[[allow]]\nrule = "all"\n'}
    config = tmp_path / "repo/conf"
    async with played(command("echo x > made"), files=rules, interactive=False, config=config) as session:
        assert (await session.play()).status is RunStatus.REFUSED
        assert not (session.root / "made").exists()


async def test_a_rule_file_that_others_may_write_does_not_count(played: Open, tmp_path: Path) -> None:
    path = tmp_path / "config/rules.toml"
    path.parent.mkdir()
    path.write_text('[[allow]]\nrule = "all"\n')
    path.chmod(0o666)
    async with played(command("echo x > made"), interactive=False) as session:
        assert (await session.play()).status is RunStatus.REFUSED
        (notice,) = session.pilot.notices
        assert notice.level == "warning"
        assert str(path) in notice.text
        assert notice in session.pilot.history
    path.chmod(0o600)
    async with played(command("echo x > made"), interactive=False) as session:
        assert not session.pilot.notices
        assert (await session.play()).status is RunStatus.DONE


async def test_always_for_one_command_is_kept_and_covers_no_other(played: Open, tmp_path: Path) -> None:
    calls = (command("make one"), command("make one; rm -rf a.py"), command("make two"))
    async with played(*calls, files={"Makefile": "one two:\n\t@true\n"}) as session:
        answers = [Decision.ALWAYS, Decision.NO, Decision.NO]
        await session.play(lambda event: session.pilot.decide(event.id, answers.pop(0)))
        assert [event.always for event in session.asked] == ["command:make one *", "", "command:make two *"]
        assert (session.root / "a.py").exists()
        assert session.outcomes[1:] == ["denied", "denied"]
    path = tmp_path / "config/rules.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert subprocess.run(["git", "status", "--short"], cwd=session.root, capture_output=True, check=True).stdout == b""
    async with played(command("make one"), interactive=False) as again:
        assert (await again.play()).status is RunStatus.DONE


@pytest.mark.parametrize(
    ("call", "flag"),
    [
        (command("echo x > ../out"), "--allow outside"),
        (command("cd .. && echo x > out"), "--allow outside"),
        (command("echo x > link/out"), "--allow outside"),
        (command("curl http://127.0.0.1:9/"), "--allow network"),
        (command("true", network="true"), "--allow network"),
        (command("true", write="/var/tmp/kat-none"), "is not a folder"),
        (command("true", write="~"), "home"),
        (command("true", write="/"), "system"),
    ],
)
async def test_leave_for_commands_is_no_leave_to_go_out(
    played: Open, tmp_path: Path, call: tuple[str, dict[str, object]], flag: str
) -> None:
    async with played(call, allow=("command", "edit"), interactive=False) as session:
        (session.root / "link").symlink_to(tmp_path)
        await session.play()
        said = "".join(event.output for event in session.events if isinstance(event, CallFinished))
        assert flag in said
        assert session.outcomes in (["denied"], ["invalid"])
        assert not (tmp_path / "out").exists()
