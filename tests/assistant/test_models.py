"""`kat models`, models of the user's own, and how their sampling reaches the agent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assistant.commands.registry import run
from assistant.config import Settings, load
from assistant.errors import UserError
from assistant.own_models import read_models
from assistant.sampling import TOP_P, sampling_of
from model.catalog import CATALOG

SMALL = {
    "architectures": ["Qwen2ForCausalLM"], "num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 4,
    "intermediate_size": 128, "vocab_size": 1_000, "max_position_embeddings": 4_096,
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAT_CONFIG", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "config.toml"


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run(["models", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_list_has_licences_sizes_and_ones_own(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text('[models.mine]\nrepository = "Me/Mine-8B"\nlicence = "MIT"\ntemperature = 0.2\n')
    code, out, _ = answer(capsys, "list")
    assert code == 0
    assert "75.6 GiB · 131,072 tokens · kwaipilot-license · kat · Kwaipilot/KAT-V1-40B" in out
    assert "licence unknown · kat · QuantTrio/KAT-V1-40B-AWQ" in out
    _, out, _ = answer(capsys, "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(rows) == {"mine", *CATALOG}
    assert (rows["mine"]["licence"], rows["mine"]["temperature"], rows["mine"]["gib"]) == ("MIT", 0.2, None)
    assert rows["KAT-V1-40B-AWQ"]["licence"] is None


def test_the_list_looks_into_ones_own_files(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "config.json").write_text(json.dumps(SMALL))
    config.write_text(f'[models.good]\npath = "{tmp_path}/good"\n[models.gone]\npath = "{tmp_path}/gone"\n')
    rows = {row["name"]: row for row in json.loads(answer(capsys, "list", "--json")[1])}
    assert (rows["good"]["here"], rows["good"]["context"], rows["good"]["gib"]) == (True, 4_096, 0.0)
    assert (rows["gone"]["here"], rows["gone"]["gib"]) == (False, None)


def test_a_size_with_price_and_saving(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["size", "kat-v1-40b", "--gpu", "h100:2", "--users", "4", "--hour", "5", "--saving", "0.3"]
    code, out, _ = answer(capsys, *words)
    assert code == 0
    for part in ("75.6 GiB", "320 KiB", "tokens/s for one user", "5 an hour =", "30 % fewer tokens (measured)"):
        assert part in out
    _, out, _ = answer(capsys, *words, "--json")
    figures = json.loads(out)
    assert figures["fits"]
    assert figures["weights_gib"] == pytest.approx(75.6, abs=0.1)
    assert figures["savings"][0]["money"] == pytest.approx(0.3 * figures["price"]["written"])


def test_what_does_not_fit_exits_with_1_and_says_what_would(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "size", "KAT-V1-40B", "--gpu", "rtx4090:1")
    assert code == 1
    assert "What would fit:\n  KAT-V1-40B-AWQ on rtx4090:2" in out
    code, out, _ = answer(capsys, "size", "KAT-V1-40B", "--gpu", "none", "--json")
    assert code == 1
    assert json.loads(out)["instead"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["size", "kat-v1-41b"], "did you mean 'KAT-V1-40B'"),
        (["size", "KAT-V1", "--gpu", "nonsense"], "no GPU type 'nonsense'"),
        (["size", "KAT-V1", "--gpu", "h100:2", "--users", "0"], "--users is 0"),
        (["size", "KAT-V1", "--gpu", "h100:2", "--context", "-5"], "--context is -5"),
        (["size", "KAT-V1", "--gpu", "h100:2", "--saving", "30"], "as 0.3 for 30 %"),
        (["size", "KAT-V1", "--gpu", "h100:2", "--speed", "0"], "--speed is 0"),
        (["size", "KAT-V1", "--gpu", "h100:2", "--context", "999999"], "131,072 tokens at most"),
        (["size", "."], "no config.json"),
        (["pull", "KAT-V1-40B"], "kat serve KAT-V1-40B"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], said: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = answer(capsys, *[str(tmp_path) if word == "." else word for word in words])
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_config_that_is_not_json(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{nonsense")
    code, _, err = answer(capsys, "size", str(tmp_path), "--gpu", "h100")
    assert (code, "not a JSON object" in err) == (2, True)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"m": {}}, "either a repository on a hub or a path"),
        ({"m": {"repository": "a/b", "path": "/x"}}, "either a repository"),
        ({"m": {"repository": "ab"}}, "ORGANISATION/NAME"),
        ({"m": {"path": "/x", "dialect": "klingon"}}, "one of kat, qwen3, qwen3_coder"),
        ({"m": {"path": "/x", "context": 1.5}}, "whole number"),
        ({"m": {"path": "/x", "context": 0}}, "above 0"),
        ({"m": {"path": "/x", "top_p": 2}}, "at most 1"),
        ({"m": {"path": 3}}, "line of text"),
        ({"m": {"path": "models/x"}}, "begins with / or ~/"),
        ({"m": {"path": "~nobody-of-that-name/x"}}, "begins with / or ~/"),
        ({"m": {"path": "/x", "aliases": "n"}}, "list of names"),
        ({"m": {"path": "/x", "size": 3}}, "knows no 'size'"),
        ({"m/n": {"path": "/x"}}, "other than up to 64"),
        ({"m": 3}, "a table"),
        (3, "table of its own"),
    ],
)
def test_tables_that_cannot_be_used(table: object, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        read_models(table)


def test_the_settings_name_the_table(config: Path) -> None:
    config.write_text('[models.mine]\npath = "/x"\ndialect = "klingon"\n')
    with pytest.raises(UserError, match=r"'models' cannot be that: 'dialect' of \[models.mine\]"):
        load()


def test_the_makers_sampling_counts_where_the_user_says_nothing(config: Path) -> None:
    config.write_text('[models.mine]\nrepository = "Me/Mine"\ntemperature = 0.2\ntop_p = 0.5\n')
    own = load()
    assert (sampling_of(own, "Me/Mine", 0.6, 9).temperature, sampling_of(own, "mine", 0.6, 9).top_p) == (0.2, 0.5)
    assert sampling_of(load({"temperature": 0.9}), "Me/Mine", 0.6, 9).temperature == 0.9
    unknown = sampling_of(Settings(), "other", 0.3, 9)
    assert (unknown.temperature, unknown.top_p, unknown.max_tokens) == (0.3, TOP_P, 9)
    assert sampling_of(Settings(), "Kwaipilot/KAT-Dev-72B-Exp", 0.1, 9).temperature == 0.6
    assert sampling_of(Settings(), CATALOG["nano"].title, 0.0, 9).temperature == 0.0
