"""Settings: who wins, and what a wrong one says."""

import pytest

from assistant.config import NAMES, Settings, load
from assistant.errors import UserError
from model.format import ThinkRequest


@pytest.fixture
def environ(tmp_path):
    return {"KAT_CONFIG": str(tmp_path)}


def write(environ, text):
    (environ_path(environ)).write_text(text, "utf-8")


def environ_path(environ):
    from pathlib import Path

    return Path(environ["KAT_CONFIG"]) / "config.toml"


def test_defaults(environ):
    assert load(environ=environ) == Settings()


def test_flags_beat_the_environment_beats_the_file(environ):
    write(environ, 'engine = "embedded"\nthink = "on"\nmax_steps = 3\n')
    environ |= {"KAT_THINK": "off", "KAT_MAX_STEPS": "7"}
    settings = load({"max_steps": 9, "model": None}, environ)
    assert (settings.engine, settings.think, settings.max_steps) == ("embedded", ThinkRequest.OFF, 9)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('engin = "x"', "did you mean 'engine'"),
        ("zzz = 1", "there are engine"),
        ('think = "maybe"', "one of auto, on, off"),
        ('dialect = "klingon"', "one of kat, qwen3, qwen3_coder"),
        ("max_steps = 0", "greater than 0"),
        ("max_steps = 1.5", "whole number"),
        ("max_steps = true", "whole number"),
        ('max_steps = "many"', "invalid literal"),
        ("temperature = 3", "at most 2"),
        ("top_p = -1", "greater than 0"),
        ("engine = 8000", "it is text"),
        ("sandbox_network = 1", "true or false"),
        ('sandbox_write = "/data"', "a list of folders"),
        ("sandbox_write = [1]", "a list of folders"),
        ('sandbox_write = ["/data", "cache"]', "'cache' is not an absolute path"),
        ("= nothing", "cannot be read"),
    ],
)
def test_a_wrong_setting_is_one_sentence(environ, line, words):
    write(environ, line)
    with pytest.raises(UserError, match=words) as caught:
        load(environ=environ)
    assert "\n" not in str(caught.value)


def test_a_key_is_never_repeated(environ):
    write(environ, "api_key = 12345678")
    with pytest.raises(UserError) as caught:
        load(environ=environ)
    assert "12345678" not in str(caught.value)


def test_temperature_may_be_zero(environ):
    write(environ, "temperature = 0\nsilence = 5\n")
    assert load(environ=environ).temperature == 0
    assert load(environ=environ).silence == 5.0


def test_lists_and_switches(environ):
    write(environ, 'sandbox_write = ["/data/a", "/data/b"]\nsandbox_network = true\n')
    settings = load(environ=environ)
    assert (settings.sandbox_write, settings.sandbox_network) == (("/data/a", "/data/b"), True)


def test_every_setting_is_documented():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs/commands.md").read_text("utf-8")
    listed = page.split("## Settings")[1]
    assert [name for name in NAMES if name not in listed] == []
