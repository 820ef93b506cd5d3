import shlex
import stat
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.safety.permissions import Access, Permission, Permissions
from assistant.safety.rules import RuleFile
from assistant.safety.shell.exact import Program

EDIT = Permission(Access.EDIT, "/r/a.py")
COMMAND = Permission(Access.COMMAND, "make lint")
TESTS = Permission(Access.COMMAND, "pytest", contained=True)


def judge(permission: Permission, *allow: str, interactive: bool = False, sandboxed: bool = True) -> str:
    return Permissions(allow, interactive=interactive, sandboxed=sandboxed).judge(permission).action


def test_reading_and_finishing_need_no_leave() -> None:
    assert judge(Permission(Access.READ, "a")) == judge(Permission(Access.NONE, "finish")) == "allow"


def test_a_contained_command_runs_only_where_there_is_a_sandbox() -> None:
    assert judge(TESTS) == "allow"
    bare = replace(TESTS, contained=False)
    assert judge(bare) == "deny"
    assert judge(bare, interactive=True) == "ask"


@pytest.mark.parametrize("permission", [EDIT, COMMAND])
def test_everything_else_is_asked_or_denied(permission: Permission) -> None:
    assert judge(permission, interactive=True) == "ask"
    assert judge(permission) == "deny"


def test_a_denial_names_the_flag() -> None:
    permissions = Permissions(interactive=False, sandboxed=True)
    assert permissions.judge(EDIT).rule == "--allow edit"
    assert permissions.judge(COMMAND).rule == "--allow command:'make lint *'"


@pytest.mark.parametrize(
    ("rule", "edit", "command"),
    [
        ("edit", "allow", "deny"),
        ("command", "deny", "allow"),
        ("command:make *", "deny", "allow"),
        ("command:make", "deny", "deny"),
        ("command:*test*", "deny", "deny"),
        ("all", "allow", "allow"),
        ("read", "deny", "deny"),
    ],
)
def test_rules(rule: str, edit: str, command: str) -> None:
    assert (judge(EDIT, rule), judge(COMMAND, rule)) == (edit, command)


@pytest.mark.parametrize("rule", ["edits", "", "command:", "edit:*.py", "ALL"])
def test_an_unknown_rule_is_refused_with_the_valid_ones(rule: str) -> None:
    with pytest.raises(ValueError, match=r"read, edit, command, command:PATTERN, network, outside, mcp, .* or all"):
        Permissions([rule], interactive=True, sandboxed=True)


def test_a_session_remembers_all_edits_but_only_the_exact_command() -> None:
    permissions = Permissions(interactive=True, sandboxed=True)
    permissions.remember(EDIT)
    permissions.remember(COMMAND)
    assert permissions.judge(Permission(Access.EDIT, "/r/other.py")).action == "allow"
    assert permissions.judge(COMMAND).action == "allow"
    assert permissions.judge(Permission(Access.COMMAND, "make lint; rm -r .")).action == "ask"


NETWORK = Permission(Access.NETWORK, "npm install x", "npm install x", "command", network=True)
OUTSIDE = Permission(Access.OUTSIDE, "cp a /x", "cp a /x", "command", folders=("/x",))


def free(line: str, **options: bool) -> str:
    """The answer where a sandbox holds and undo works."""
    settings = {"interactive": True, "sandboxed": True, "undoable": True} | options
    return Permissions(**settings).judge(Permission(Access.COMMAND, line)).action


def test_ordinary_commands_need_no_question_where_sandbox_and_undo_hold() -> None:
    assert free("make lint && pytest -q > log") == "allow"
    assert free("make lint", sandboxed=False) == "ask"
    assert free("make lint", undoable=False) == "ask"
    assert free("make lint", interactive=False) == "deny"


@pytest.mark.parametrize("line", ["rm -rf build", "git clean -fd", "$X", "echo x | sh", "git -c alias.x=!y x"])
def test_what_undo_cannot_mend_or_nobody_can_read_asks_all_the_same(line: str) -> None:
    assert free(line) == "ask"


def test_leaving_the_sandbox_always_asks_and_needs_each_leave() -> None:
    permissions = Permissions(interactive=True, sandboxed=True, undoable=True)
    assert permissions.judge(NETWORK).action == permissions.judge(OUTSIDE).action == "ask"
    assert "network" in permissions.judge(NETWORK).rule
    assert "/x" in permissions.judge(OUTSIDE).rule
    assert judge(NETWORK, "network") == judge(NETWORK, "command") == judge(OUTSIDE, "network", "command") == "deny"
    assert judge(NETWORK, "network", "command:npm install *") == judge(OUTSIDE, "all") == "allow"


@pytest.mark.parametrize(
    ("permission", "allow", "flags"),
    [
        (NETWORK, (), "--allow network --allow command:'npm install *'"),
        (NETWORK, ("command",), "--allow network"),
        (OUTSIDE, ("command",), "--allow outside"),
        (Permission(Access.COMMAND, "make a && mypy"), (), "--allow command:'make a *' --allow command:'mypy *'"),
        (Permission(Access.COMMAND, "make a > log"), (), "--allow command:'make a *' --allow edit"),
        (Permission(Access.COMMAND, "make a > log"), ("command:make *",), "--allow command:'make a *' --allow edit"),
        (Permission(Access.COMMAND, "python x.py"), (), "--allow command"),
    ],
)  # fmt: skip
def test_a_denial_names_flags_that_then_allow_it(permission: Permission, allow: tuple[str, ...], flags: str) -> None:
    said = Permissions(allow, interactive=False, sandboxed=True).judge(permission)
    assert (said.action, said.rule) == ("deny", flags)
    named = [text for text in shlex.split(flags) if text != "--allow"]
    assert judge(permission, *allow, *named) == "allow"


def test_a_session_does_not_cover_the_same_line_with_another_program() -> None:
    permissions = Permissions(interactive=True, sandboxed=False)
    first = Permission(Access.COMMAND, "./x", directory="/r", programs=(Program("./x", "/r/x", "aa"),))
    permissions.remember(first)
    assert permissions.judge(first).action == "allow"
    for other in (
        replace(first, programs=(Program("./x", "/r/x", "bb"),)),
        replace(first, programs=(Program("./x", "/elsewhere/x"),)),
        replace(first, directory="/s"),
        replace(first, network=True),
    ):
        assert permissions.judge(other).action == "ask"


def opened(tmp_path: Path, repository: str = "repo") -> Permissions:
    kept = RuleFile(tmp_path / "config", tmp_path / repository)
    return Permissions(interactive=True, sandboxed=False, kept=kept)


def test_always_is_kept_for_this_repository_in_a_file_of_the_users_own(tmp_path: Path) -> None:
    permissions = opened(tmp_path)
    line = Permission(Access.COMMAND, "npm run build -- --fast")
    assert permissions.always(line) == "command:npm run build *"
    kept = permissions.keep(line)
    path = tmp_path / "config/rules.toml"
    assert kept.ok
    assert "command:npm run build *" in kept.text
    assert str(path) in kept.text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert permissions.keep(EDIT).ok
    for judged in (permissions, opened(tmp_path)):
        assert judged.judge(replace(line, subject="npm run build")).action == "allow"
        assert judged.judge(replace(line, subject="npm run deploy")).action == "ask"
        assert judged.judge(EDIT).action == "allow"
    assert opened(tmp_path, "other").judge(line).action == "ask"
    assert len(tomllib.loads(path.read_text())["allow"]) == 2


def test_a_rule_that_the_user_wrote_without_a_repository_counts_everywhere(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/rules.toml").write_text('[[allow]]\nrule = "command:make *"\n')
    (tmp_path / "config/rules.toml").chmod(0o600)
    for name in ("one", "two"):
        assert opened(tmp_path, name).judge(COMMAND).action == "allow"


@pytest.mark.parametrize("subject", ["python -c 1", "sudo make", "rm -r x", "$X", "make > log", "A=1 make", "ssh a b"])
def test_no_rule_is_offered_for_what_could_be_anything(tmp_path: Path, subject: str) -> None:
    permissions = opened(tmp_path)
    line = Permission(Access.COMMAND, subject)
    assert permissions.always(line) == ""
    assert not permissions.keep(line).ok
    assert not (tmp_path / "config/rules.toml").exists()
    assert permissions.judge(line).action == "allow"
    assert permissions.always(NETWORK) == permissions.always(OUTSIDE) == ""


@pytest.mark.parametrize(
    "text",
    ["[[allow", "allow = 1", "[[allow]]\nrule = 'everything'", "[[allow]]\nrule = 'all'\nrepository = '.'", "x = 1",
     "[[allow]]\nrepository = '/r'", "\xff"],
)  # fmt: skip
def test_a_broken_file_counts_as_no_rules_and_is_said_and_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config/rules.toml"
    path.parent.mkdir()
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    permissions = opened(tmp_path)
    assert str(path) in permissions.problem
    assert "\n" not in permissions.problem
    assert permissions.judge(COMMAND).action == "ask"
    assert not permissions.keep(COMMAND).ok
    assert path.read_bytes() == text.encode("latin-1")
