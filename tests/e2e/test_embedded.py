"""The real embedded model, end to end."""

import json

import pytest

from assistant.context import PROFILES, system_text
from assistant.tools.registry import specs
from model.catalog import CATALOG
from model.dialects import dialect
from model.engines.embedded import EmbeddedEngine
from model.engines.segments import JUDGE_TOKENS
from model.format import ThinkRequest
from model.prompt import Message
from model.pull import pull

pytestmark = [pytest.mark.embedded, pytest.mark.xdist_group("served")]

SHORT = "max_tokens = 120\nthink_budget = 60\n"
"""Left alone, the model goes on for minutes; the length of what it says proves nothing here."""
MARK_TOKENS = 8
"""Most tokens that this tokenizer makes of a mark, which counts as a part of the judge."""


@pytest.fixture(scope="module")
def nano():
    return pull(CATALOG["nano"])


@pytest.mark.parametrize("think", ["on", "off", "auto"])
def test_ask_in_each_mode(kat, repository, nano, think):
    (kat.home / "config").mkdir()
    (kat.home / "config/config.toml").write_text(SHORT)
    outcome = kat(
        "ask", "What does this repository do?", "--repo", repository, "--engine", "embedded", "--think", think,
        "--max-steps", "1", "--json", one_core=True,
    )  # fmt: skip
    assert outcome.code in (0, 1, 4), outcome.err
    (record,) = outcome.records()
    assert record["request"] == think
    assert record["mode"] in ("on", "off")
    if think == "auto":
        assert not record["forced"]
        assert 0 < record["tokens"]["judge"] <= JUDGE_TOKENS + MARK_TOKENS
    else:
        assert record["mode"] == think
    texts = [event for event in outcome.events if event["kind"] == "segment"]
    assert any(event["segment"] == "answer" for event in texts)
    assert any(event["segment"] == "think" for event in texts) == (record["mode"] == "on")
    assert not any("<" + tag in event["text"] for event in texts for tag in ("think", "answer", "judge", "tool_call"))
    assert record["tokens"]["prompt"] > 500


@pytest.mark.usefixtures("plain_runner")
def test_fix_says_no_honestly(kat, repository, nano):
    limits = ("--candidates", "1", "--samples", "8", "--max-steps", "2", "--think", "off")
    outcome = kat("fix", "--repo", repository, "--engine", "embedded", "--json", *limits, one_core=True)
    report = json.loads(outcome.out.splitlines()[-1])
    assert (outcome.code, report["status"]) in ((1, "not_fixed"), (0, "fixed"))
    assert report["attempts"]
    if report["status"] == "fixed":
        assert report["receipt"]["exit_code"] == 0


def test_doctor_proves_what_it_says(kat, repository, nano):
    outcome = kat("doctor", "--repo", repository, "--json", one_core=True, KAT_ENGINE="embedded")
    assert outcome.code == 0, outcome.out
    findings = {line["name"]: line for line in map(json.loads, outcome.out.splitlines())}
    assert findings["engine"]["ok"]
    assert findings["think on"]["ok"]
    assert findings["think off"]["ok"]
    assert findings["prefix cache"]["ok"]
    assert "auto hard" not in findings, "only --engine asks for all of it"
    assert findings["git"]["ok"]
    assert findings["sandbox"]["ok"]
    probes = [line for name, line in findings.items() if name.startswith("sandbox: ")]
    assert len(probes) >= 6
    assert all(line["ok"] for line in probes)


@pytest.mark.parametrize(("profile", "most"), [("compact", 700), ("full", 3_500)])
async def test_prompts_keep_their_size(nano, profile, most):
    files = [f"package/module_{number}.py" for number in range(500)]
    text = system_text(PROFILES[profile], "repository", files, "python -m pytest -q")
    prompt = dialect("kat").render([Message("system", text)], specs(profile), ThinkRequest.AUTO, "")
    engine = EmbeddedEngine(nano)
    try:
        assert await engine.count(prompt) < most
    finally:
        await engine.aclose()
