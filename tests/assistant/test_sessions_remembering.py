"""What a session that goes on knows of files."""

import pytest

from assistant.sessions.remembering import remembered
from assistant.workspace.files import Workspace
from assistant.workspace.text import digest
from tests.assistant.conftest import YES
from tests.e2e.conftest import reply


@pytest.mark.parametrize(
    ("meanwhile", "current"),
    [({}, True), ({"a.py": "x = 1\ny = 3\n"}, False), ({"a.py": "x = 1\n"}, False), ({"b.py": "new"}, True)],
)
async def test_what_was_read_is_known_and_current_if_it_still_reads_so(session, meanwhile, current):
    call = ("read_file", {"path": "./a.py"})
    async with session({"reply": reply("", call)}, {"reply": reply("Done.")}) as s:
        await s.say("go")
        for name, text in meanwhile.items():
            (s.root / name).write_text(text)
        seen = remembered(s.journal, Workspace(s.root))
        assert seen.knows("a.py")
        assert not seen.knows("b.py")
        assert seen.is_current("a.py", digest((s.root / "a.py").read_bytes())) is current
        assert (seen.opened, seen.written) == ({"a.py"}, set())


async def test_what_a_step_left_is_known_and_what_it_took_away_is_not(session):
    calls = [
        ("read_file", {"path": "a.py"}),
        ("edit_file", {"path": "a.py", "old": "x = 1", "new": "x = 5"}),
        ("write_file", {"path": "new.py", "content": "n = 1\n" + "long" * 1_000}),
        ("read_file", {"path": "new.py"}),
        ("delete_file", {"path": "b.py"}),
        ("read_file", {"path": "../outside"}),
    ]
    async with session(*({"reply": reply("", call)} for call in calls), {"reply": reply("Done.")}) as s:
        s.answers = [(YES,)] * 3
        await s.say("go")
        seen = remembered(s.journal, Workspace(s.root))
        for name in ("a.py", "new.py"):
            assert seen.is_current(name, digest((s.root / name).read_bytes())), name
        assert not seen.knows("b.py")
        assert (seen.opened, seen.written) == ({"a.py", "new.py"}, {"a.py"})
        (s.root / "new.py").write_text("n = 1\nlong, but not so")
        seen = remembered(s.journal, Workspace(s.root))
        assert seen.knows("new.py")
        assert not seen.is_current("new.py", digest((s.root / "new.py").read_bytes()))
