"""Slash prompts: ours, the user's own, and what they stand for."""

import re
from importlib import resources

import pytest

from assistant.errors import UserError
from assistant.slash import SlashPrompt, expand, slash_prompts
from assistant.think import Policy, Situation
from model.catalog import CATALOG
from model.dialects import dialect
from model.engines.embedded import EmbeddedEngine
from model.format import ThinkRequest
from model.prompt import Message
from model.pull import pull

OURS = {"commit", "explain", "fix", "review", "tests"}
BUDGETS = {
    "compact": 60,
    "full": 400,
    "first_message": 30,
    "compaction": 160,
    "map": 30,
    "subagent": 150,
    "slash/commit": 125,
    "slash/explain": 110,
    "slash/fix": 110,
    "slash/review": 150,
    "slash/tests": 125,
}
"""Tokens of each prompt file, front matter included, by the tokenizer of the embedded model: what a change may cost."""


@pytest.fixture
def environ(tmp_path):
    (tmp_path / "prompts").mkdir()
    return {"KAT_CONFIG": str(tmp_path)}


@pytest.fixture
def write(environ, tmp_path):
    def one(name, text, **how):
        (tmp_path / "prompts" / name).write_text(text, **how)

    return one


def test_ours_say_something_with_and_without_arguments(environ):
    prompts = slash_prompts(environ)
    assert set(prompts) == OURS
    assert list(prompts) == sorted(prompts)
    for prompt in prompts.values():
        assert prompt.description
        assert not prompt.own
        for message in (prompt.message(), prompt.message("the parser in a{b}.py")):
            assert not re.search(r"\{arguments", message)
        assert "the parser in a{b}.py" in prompt.message("the parser in a{b}.py")


def test_ours_leave_the_choice_of_mode_alone(environ):
    for prompt in slash_prompts(environ).values():
        decision = Policy.of((), ()).decide(Situation(prompt.message(), ThinkRequest.AUTO, 0))
        assert decision.request is ThinkRequest.AUTO


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/greet", "Say hello to everybody."),
        ("  /greet   Ada and\nBob ", "Say hello to Ada and\nBob."),
        ("/greet \\1 {arguments}", "Say hello to \\1 {arguments}."),
        ("/plain", "Count."),
        ("/plain to ten", "Count.\n\nto ten"),
        ("/greeting", None),
        ("/Greet", None),
        ("/etc/hosts is wrong", None),
        ("greet", None),
        ("say /greet", None),
        ("/", None),
        ("", None),
    ],
)
def test_what_a_message_stands_for(environ, write, text, message):
    write("greet.md", "---\ndescription: greets\nother: x\n---\n\nSay hello to {arguments|everybody}.\n")
    write("plain.md", "Count.\n")
    assert expand(text, environ) == message


def test_the_users_own_come_from_his_folder_and_stand_in_for_ours(environ, write, tmp_path):
    write("fix.md", "# Mine\n{arguments}{arguments}")
    write("Loud.md", "no")
    write("a b.md", "no")
    write("note.txt", "no")
    (tmp_path / "prompts/folder.md").mkdir()
    prompts = slash_prompts(environ)
    assert set(prompts) == OURS
    assert prompts["fix"] == SlashPrompt("fix", "Mine", "# Mine\n{arguments}{arguments}", own=True)
    assert expand("/fix x", environ) == "# Mine\nxx"
    assert expand("/fix", environ) == "# Mine"


def test_what_cannot_be_used_is_listed_and_says_why(environ, write, tmp_path):
    (tmp_path / "prompts/bytes.md").write_bytes(b"\xff\xfe\x00")
    write("empty.md", "---\ndescription: nothing\n---\n")
    write("long.md", "x" * 100_000)
    for name, why in (("bytes", "not UTF-8"), ("empty", "is empty"), ("long", "longer than 64,000")):
        assert name in slash_prompts(environ)
        with pytest.raises(UserError, match=why):
            expand(f"/{name}", environ)


def test_without_a_folder_there_are_ours(tmp_path):
    assert set(slash_prompts({"KAT_CONFIG": str(tmp_path / "nowhere")})) == OURS


@pytest.mark.embedded
@pytest.mark.xdist_group("heavy")
async def test_every_prompt_file_keeps_its_budget():
    folder = resources.files("assistant").joinpath("prompts")
    files = [*folder.iterdir(), *folder.joinpath("slash").iterdir()]
    texts = {_name(file): file.read_text("utf-8") for file in files if file.is_file()}
    assert set(texts) == set(BUDGETS)
    engine = EmbeddedEngine(pull(CATALOG["nano"]))
    try:
        around = await engine.count(_prompt(""))
        tokens = {name: await engine.count(_prompt(text)) - around for name, text in texts.items()}
    finally:
        await engine.aclose()
    assert {name: count for name, count in tokens.items() if count > BUDGETS[name]} == {}


def _name(file):
    name = file.name.removesuffix(".md")
    return f"slash/{name}" if name in OURS else name


def _prompt(text):
    return dialect("qwen3").render([Message("user", text)], (), ThinkRequest.AUTO, "")
