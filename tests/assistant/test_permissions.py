import pytest

from assistant.safety.permissions import Access, Permission, Permissions

EDIT = Permission(Access.EDIT, "/r/a.py")
COMMAND = Permission(Access.COMMAND, "make lint")
TESTS = Permission(Access.COMMAND, "pytest", contained=True)


def judge(permission: Permission, *allow: str, interactive: bool = False, sandboxed: bool = True) -> str:
    return Permissions(allow, interactive=interactive, sandboxed=sandboxed).judge(permission).action


def test_reading_and_finishing_need_no_leave() -> None:
    assert judge(Permission(Access.READ, "a")) == judge(Permission(Access.NONE, "finish")) == "allow"


def test_a_contained_command_runs_only_where_there_is_a_sandbox() -> None:
    assert judge(TESTS) == "allow"
    assert judge(TESTS, sandboxed=False) == "deny"
    assert judge(TESTS, sandboxed=False, interactive=True) == "ask"


@pytest.mark.parametrize("permission", [EDIT, COMMAND])
def test_everything_else_is_asked_or_denied(permission: Permission) -> None:
    assert judge(permission, interactive=True) == "ask"
    assert judge(permission) == "deny"


def test_a_denial_names_the_flag() -> None:
    permissions = Permissions(interactive=False, sandboxed=True)
    assert permissions.judge(EDIT).rule == "--allow edit"
    assert permissions.judge(COMMAND).rule == "--allow command"


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
    with pytest.raises(ValueError, match="read, edit, command, command:PATTERN or all"):
        Permissions([rule], interactive=True, sandboxed=True)


def test_a_session_remembers_all_edits_but_only_the_exact_command() -> None:
    permissions = Permissions(interactive=True, sandboxed=True)
    permissions.remember(EDIT)
    permissions.remember(COMMAND)
    assert permissions.judge(Permission(Access.EDIT, "/r/other.py")).action == "allow"
    assert permissions.judge(COMMAND).action == "allow"
    assert permissions.judge(Permission(Access.COMMAND, "make lint; rm -r .")).action == "ask"
