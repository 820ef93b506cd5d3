"""Secrets on their way into what is kept: whichever way they take, none arrives. All values are made up.

Each attack is a whole session in which the model, a file, a command, the user or the server says a secret. It must
still have arrived where it is needed (the model's prompt, the file), or the attack would prove nothing.
"""

import json

import pytest

from assistant.config import Settings
from assistant.events import ApprovalAsked, Decision, RunStatus
from assistant.opening import Place, open_pilot
from assistant.sessions import read
from assistant.sessions.export import as_jsonl, as_markdown
from assistant.sessions.index import listed
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.format import ThinkRequest
from tests.e2e.conftest import make_repository, reply

TOKEN = "ghp_q7Rk2mXv9LpW4sZt8BnD1fHy6CgJ3aEuQ5oT"
AWS = "wJ4lrXUtnFEMI/K7MDENGxbPxRfiCYqTzR9kLm2p"
LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
PEM = "-----BEGIN PRIVATE KEY-----\n" + f"{LINE}\n" * 120 + "-----END PRIVATE KEY-----\n"
PASSWORD = "tr0ub4dor-and-3"
KEY = "plain-looking-engine-key"

FILES = {
    ".env": f"DEBUG=1\nDB_PASSWORD={PASSWORD}\nGITHUB_TOKEN={TOKEN}\n",
    "id_rsa": PEM,
    "credentials": f"[default]\naws_access_key_id = AKIAQWERTYUIOPASDFGH\naws_secret_access_key = {AWS}\n",
    "README.md": f"# Shop\nThe staging site is https://shop:{PASSWORD}@staging.test/.\n",
    "settings.py": f'DATABASE = {{"USER": "shop", "PASSWORD": "{PASSWORD}"}}\n',
    "test_login.py": f'import unittest\n\n\nclass T(unittest.TestCase):\n    def test_login(self):\n'
    f'        password = "{PASSWORD}"\n        self.assertEqual(dict(password=password), {{}})\n',
    f"backup-{TOKEN}.txt": "x\n",
}  # fmt: skip


def calls(*each):
    return [{"reply": reply("I do it.", *each)}, {"reply": reply("Done."), "times": 0}]


def command(line):
    return calls(("run_command", {"command": line}))


ATTACKS = {
    "a file that is read": (PASSWORD, calls(("read_file", {"path": ".env"}))),
    "a token in a file": (TOKEN, calls(("read_file", {"path": ".env"}))),
    "a key of which the middle is left out": (LINE, calls(("read_file", {"path": "id_rsa"}))),
    "a key of which the end is read": (LINE, calls(("read_file", {"path": "id_rsa", "start": "100"}))),
    "credentials in a dotfile": (AWS, calls(("read_file", {"path": "credentials"}))),
    "a search": (PASSWORD, calls(("search", {"pattern": "PASSWORD"}))),
    "a list of files": (TOKEN, calls(("list_files", {}))),
    "a command's output": (PASSWORD, command("cat .env")),
    "a command's output with an option": (AWS, command("grep -n secret credentials")),
    "a command line": (PASSWORD, command(f"echo --password {PASSWORD} > /dev/null; true")),
    "an exported variable": (PASSWORD, command(f"export DB_PASSWORD={PASSWORD}; true")),
    "a header on a command line": (PASSWORD, command(f"echo 'Authorization: Bearer {PASSWORD}'")),
    "JSON that a command prints": (PASSWORD, command(f'echo \'{{"api_key": "{PASSWORD}"}}\'')),
    "a URL in a command's output": (PASSWORD, command("cat README.md")),
    "a file that is written": (
        PASSWORD,
        calls(("write_file", {"path": "new.py", "content": f'password = "{PASSWORD}"\n'})),
    ),
    "a secret that comes back bare": (
        PASSWORD,
        [
            {"reply": reply("I look.", ("read_file", {"path": "settings.py"}))},
            {"reply": reply("", ("edit_file", {"path": "settings.py", "old": PASSWORD, "new": "x"}))},
            {"reply": reply(f"It was {PASSWORD} before."), "times": 0},
        ],
    ),
    "a test that fails": (PASSWORD, calls(("run_tests", {}))),
    "a call that cannot be read": (
        PASSWORD,
        [{"reply": reply("I try.") + f"\n<tool_call>\n{{'password': '{PASSWORD}'\n</tool_call>"}, *calls()[1:]],
    ),
    "the model's answer": (TOKEN, [{"reply": reply(f"The token is {TOKEN}.")}]),
    "the model's thoughts": (TOKEN, [{"reply": reply("Hm.", think=f"I saw {TOKEN} there.")}]),
    "the model's judge": (PASSWORD, [{"reply": reply("Hm.", judge=f"password: {PASSWORD}")}]),
    "a reply that is cut": (
        TOKEN,
        [{"reply": reply(f"The token is {TOKEN}, " + "and so on " * 50), "cut_after": 200}],
    ),
    "what the server says of an error": (
        PASSWORD,
        [{"status": 400, "body": json.dumps({"error": {"message": f"bad api_key={PASSWORD}"}})}],
    ),
    "the key of the engine": (KEY, [{"reply": reply(f"Your key is {KEY}.")}]),
}


def kept(state):
    """Everything that lies in the state directory, and what an export makes of it."""
    (path,) = (state / "sessions").glob("*.jsonl")
    listed(path.parent, "done")
    records = list(read(path))
    parts = [file.read_bytes().decode("utf-8", "replace") for file in (state / "sessions").iterdir()]
    return "\n".join([*parts, as_markdown(records), *as_jsonl(records)])


async def session(tmp_path, script, text="go", *, interactive=False, note="", profile="full"):
    """Carry a script out; returns how it ended, and what the server was sent."""
    root = make_repository(tmp_path / "repo", FILES)
    environ = {"KAT_STATE": str(tmp_path / "state"), "KAT_CONFIG": str(tmp_path / "config"), "PATH": "/usr/bin:/bin"}
    allow = () if interactive else ("all",)
    with ScriptedServer(script) as server:
        engine = HttpEngine(server.url, retries=1, backoff=0.01, api_key=KEY)
        settings = Settings(profile=profile, api_key=KEY, test_command="python3 -m unittest -q")
        pilot = await open_pilot(Place(root, environ=environ), engine, settings, allow=allow, interactive=interactive)
        status = None
        try:
            async for event in pilot.run(text, ThinkRequest.AUTO):
                status = getattr(event, "status", None)
                if isinstance(event, ApprovalAsked):
                    pilot.decide(event.id, Decision.NO, note)
        finally:
            await pilot.aclose()
    return status, json.dumps(server.requests, ensure_ascii=False).replace("\\n", "\n")


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_secret_is_not_kept(tmp_path, name):
    secret, script = ATTACKS[name]
    status, _ = await session(tmp_path, script)
    assert status in (RunStatus.DONE, RunStatus.FAILED)
    text = kept(tmp_path / "state")
    assert secret not in text
    assert "[redacted" in text


async def test_the_model_itself_sees_what_it_must_work_with(tmp_path):
    _, sent = await session(tmp_path, calls(("read_file", {"path": ".env"})))
    assert PASSWORD in sent
    assert PASSWORD not in kept(tmp_path / "state")


async def test_the_users_own_words(tmp_path):
    _, sent = await session(tmp_path, calls(), f"use the password: {PASSWORD} and {TOKEN}")
    assert PASSWORD in sent
    text = kept(tmp_path / "state")
    assert PASSWORD not in text
    assert TOKEN not in text


async def test_the_sentence_that_goes_with_a_no(tmp_path):
    edit = ("write_file", {"path": "new.txt", "content": "x"})
    _, sent = await session(tmp_path, calls(edit), interactive=True, note=f"use token {TOKEN} instead")
    assert TOKEN in sent
    assert TOKEN not in kept(tmp_path / "state")


async def test_what_the_first_prompt_takes_from_the_readme(tmp_path):
    _, sent = await session(tmp_path, calls(), profile="compact")
    assert PASSWORD in sent
    assert PASSWORD not in kept(tmp_path / "state")


async def test_an_engine_that_refuses_the_key_does_not_say_it(tmp_path):
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})
    status, _ = await session(tmp_path, [{"status": 401, "body": body, "times": 0}])
    assert status is RunStatus.FAILED
    assert KEY not in kept(tmp_path / "state")
