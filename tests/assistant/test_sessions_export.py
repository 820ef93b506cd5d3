"""What an export looks like; `golden/session.md` is one to read."""

import json
from pathlib import Path

from assistant.sessions.export import as_jsonl, as_markdown

GOLDEN = Path(__file__).parent / "golden" / "session.md"
DIFF = "--- a/price.py\n+++ b/price.py\n@@ -1 +1 @@\n-return sum(prices) + 1\n+return sum(prices)\n"
RECORDS = [
    {
        "kind": "session", "n": 1, "time": "2026-11-22T10:00:00.000+00:00", "version": 1, "repository": "/home/me/shop",
        "engine": {"name": "embedded", "model": "kat-nano", "dialect": "kat", "context": 8192, "why": ""},
        "parent": "20261121-090000-abcdef", "parent_step": 3,
    },
    {"kind": "prompt", "n": 2, "system": "You are KAT.", "first": "{message}", "profile": "full"},
    {"kind": "user", "n": 3, "text": "Mend the price.\n\nDB_PASSWORD=hunter2 is in .env", "think": "auto"},
    {
        "kind": "reply", "n": 4, "step": 4, "cut": None, "judge": "It needs\nthought.", "mode": "on", "closed": True,
        "think": "The sum is off by one.\n</details>\nSo I drop it.", "answer": "I take the `+ 1` away.\x1b[2J",
        "calls": [],
    },
    {"kind": "approval", "n": 5, "id": "4.1", "decision": "once", "by": "user", "note": ""},
    {
        "kind": "intent", "n": 6, "id": "4.1", "tool": "edit_file", "diff": DIFF,
        "arguments": {"path": "price.py", "old": " + 1", "new": ""},
    },
    {
        "kind": "result", "n": 7, "id": "4.1", "outcome": "ok", "ok": True, "summary": "+1 -1", "finish": False,
        "output": "Edited price.py: +1 -1.",
    },
    {"kind": "intent", "n": 8, "id": "4.2", "tool": "run_command", "arguments": {"command": "cat README.md"}},
    {
        "kind": "result", "n": 9, "id": "4.2", "outcome": "unknown", "ok": False, "summary": "unknown outcome",
        "output": "# Shop\n```\ncode\n```\nhttps://me:hunter2@example.test/", "finish": False,
    },
    {"kind": "restore", "n": 10, "action": "undo", "target": 0, "files": ["price.py"], "tree": "0"},
    {"kind": "something_new", "n": 11, "field": 1},
    {"kind": "finished", "n": 12, "status": "done", "message": ""},
]  # fmt: skip


def test_markdown_is_as_it_was():
    assert as_markdown(RECORDS) == GOLDEN.read_text("utf-8")


def test_neither_form_has_secrets_or_control_characters():
    for text in (as_markdown(RECORDS), "\n".join(as_jsonl(RECORDS))):
        assert "hunter2" not in text
        assert "\x1b" not in text
        assert "[redacted password]" in text


def test_jsonl_is_the_records():
    back = [json.loads(line) for line in as_jsonl(RECORDS)]
    assert [record["n"] for record in back] == list(range(1, 13))
    assert back[5] == RECORDS[5]
    assert back[10] == RECORDS[10]


def test_known_secrets_are_taken_out_of_both():
    records = [{"kind": "user", "text": "say plainwordsecret", "think": "auto"}]
    assert "plainwordsecret" not in as_markdown(records, ["plainwordsecret"])
    assert "plainwordsecret" not in "".join(as_jsonl(records, ["plainwordsecret"]))
