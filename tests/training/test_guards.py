"""What keeps tasks and samples clean: each guard refuses what it must, and leaves alone what is fine."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from model.format import Mode, ToolCall
from model.prompt import Message
from tests.training.records import CODE, HERE, RIGHT, WRONG, sample, task
from training.data.guards import contamination
from training.data.guards.benchmark_files import hash_list
from training.data.guards.contamination import Contamination, HashList
from training.data.guards.duplicates import Duplicates, shingles, similarity
from training.data.guards.leaks import Leaks, leak
from training.data.guards.licences import Licences, allows, licence_of
from training.data.guards.scrub import Scrub, scrub_text
from training.data.guards.splits import Splits
from training.data.guards.tampering import check
from training.data.repositories.diffs import unified
from training.data.schema import UNVERIFIED, Provenance, Refused, Sample, Source, Tags, Task

FIX = unified("pack/best.py", WRONG, RIGHT)


@pytest.mark.parametrize(
    "statement",
    [
        "It must say: if value>best:",
        "Use `>` instead of `<` there.",
        "change '<' to '>' in largest",
        "把 `<` 改成 `>`。",
        "Line 4 should compare the other way.",
        "第 4 行应该反过来比较。",
        f"```diff\n{FIX}```",
        "@@ -1,6 +1,6 @@\n see above",
    ],
)
def test_statements_that_give_the_fix_away(statement: str) -> None:
    assert leak(statement, FIX)


@pytest.mark.parametrize(
    "statement",
    [
        "largest([3, 1], 9) gives 0 instead of 3.",
        "best is never updated: `if value < best:` is wrong somehow",
        "The result should be '3', not '0'.",
        "E   assert 0 == 3\npack/best.py:4: AssertionError, in line 4 of the test",
    ],
)
def test_statements_that_do_not(statement: str) -> None:
    assert leak(statement, FIX) is None


def test_a_name_that_only_the_solution_has_leaks_unless_the_tests_know_it() -> None:
    new = unified(
        "pack/best.py",
        RIGHT,
        RIGHT.replace("min(best, limit)", "clamp_best(best, limit)") + "\n\ndef clamp_best(a, b):\n    return a\n",
    )
    assert leak("There is no clamp_best yet.", new)
    assert leak("There is no clamp_best yet.", new, "assert clamp_best(1, 2) == 1") is None
    assert [type(each) for each in Leaks()([task(statement="if value > best:"), task()], HERE)] == [Refused, Task]


def _touching(path: str, old: str, new: str) -> Task:
    return task(solution=FIX + unified(path, old, new))


@pytest.mark.parametrize(
    "tampered",
    [
        _touching("tests/test_best.py", "def test_a():\n    assert 0\n", "def test_a():\n    pass\n"),
        _touching("conftest.py", "", "import os\n"),
        _touching("pytest.ini", "[pytest]\n", "[pytest]\naddopts = -k nothing\n"),
        _touching("pyproject.toml", "a = 1\n", "a = 2\n"),
        _touching("pack/more.py", "a = 1\n", "import pytest\na = 2\n"),
        _touching("pack/more.py", "a = 1\n", "a = 1\n__test__ = False\n"),
        task(start=unified("test/check.py", "a\n", "b\n")),
        task(tests_patch=unified("tests/test_best.py", "def test_a():\n    pass\n", "def test_b():\n    pass\n")),
        task(tests_patch=unified("pack/best.py", WRONG, RIGHT)),
        task(pass_to_pass=("tests/test_best.py::test_largest",)),
        task(fail_to_pass=(), pass_to_pass=("tests/test_best.py::test_other",)),
        task(
            solution="diff --git a/tests/test_a.py b/tests/a.py\nsimilarity index 100%\n"
            "rename from tests/test_a.py\nrename to tests/a.py\n"
        ),
    ],
)
def test_tasks_that_touch_what_judges_them(tampered: Task) -> None:
    assert check(tampered)


def test_tasks_that_do_not() -> None:
    assert check(task()) is None
    more = unified(
        "tests/test_best.py", "def test_a():\n    pass\n", "def test_a():\n    pass\n\n\ndef test_b():\n    pass\n"
    )
    assert check(task(tests_patch=more)) is None


def test_settings_may_change_where_whole_files_show_that_tests_are_not_in_them(tmp_path: Path) -> None:
    old = '[project]\nname = "a"\n\n[tool.pytest.ini_options]\naddopts = "-q"\n'
    (tmp_path / "pyproject.toml").write_text(old)
    named = task(start=unified("pyproject.toml", old, old.replace('"a"', '"b"')))
    quiet = task(start=unified("pyproject.toml", old, old.replace("-q", "-k x")))
    assert check(named)
    assert check(named, tmp_path) is None
    assert check(quiet, tmp_path)


def test_near_duplicates_go_and_other_modes_and_replies_stay() -> None:
    longer = CODE + "\n".join(
        f"limit_{name} = spread({name}, {len(name)})" for name in ("alpha", "beta", "gamma", "delta")
    )
    first = sample("s-1", longer)
    same = sample("s-2", longer.replace("padded", "filled"))
    thinking = replace(same, id="s-3", mode=Mode.ON, think="Hm.")
    other = replace(same, id="s-4", answer="Line 5 stops early.")
    found = [*Duplicates()([first, same, thinking, other], HERE)]
    assert [each.id for each in found if isinstance(each, Sample)] == ["s-1", "s-3", "s-4"]
    assert [(r.id, r.reason) for r in found if isinstance(r, Refused)] == [("s-2", "duplicate")]


def test_overlap_with_the_held_out_is_refused_on_the_training_side_whatever_the_reply() -> None:
    train, held = sample("s-1"), sample("s-2", answer="Another answer.", split="test")
    alone = sample("s-3", "What does this do?\n" + "\n".join(reversed(CODE.split())))
    found = {each.id: getattr(each, "reason", "") for each in Duplicates()([train, held, alone], HERE)}
    assert found == {"s-1": "overlap", "s-2": "", "s-3": ""}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), max_size=40), st.lists(st.sampled_from("abcdefgh"), max_size=40))
def test_similarity_is_that_of_the_sets_of_runs(one: list[str], two: list[str]) -> None:
    def runs(tokens: list[str]) -> set[tuple[str, ...]]:
        size = min(5, len(tokens))
        return {tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)} if size else set()

    a, b = runs(one), runs(two)
    expected = len(a & b) / len(a | b) if a | b else 1.0
    assert similarity(shingles(" ".join(one)), shingles(" ".join(two))) == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from(["", "f", "g"]), st.integers(0, 12)),
        max_size=20,
    ),
    st.randoms(use_true_random=False),
)
def test_families_stay_together_in_any_order(rows: list[tuple[str, str, str, int]], random: object) -> None:
    samples = [
        sample(f"s-{n}", provenance=Provenance(source, path=path, function=function, parent=f"s-{parent}"))
        for n, (source, path, function, parent) in enumerate(rows)
    ]
    stage = Splits(valid=0.4, test=0.2, seed=3)
    split = {each.id: each.split for each in stage(samples, HERE) if isinstance(each, Sample)}
    random.shuffle(samples)  # type: ignore[attr-defined]
    assert split == {each.id: each.split for each in stage(samples, HERE) if isinstance(each, Sample)}
    for one in samples:
        assert split.get(one.provenance.parent, split[one.id]) == split[one.id]
        for other in samples:
            if one.provenance.function and one.provenance == replace(other.provenance, parent=one.provenance.parent):
                assert split[one.id] == split[other.id]


def test_splits_by_time_and_by_module() -> None:
    made = [Provenance("p", released=f"202{year}-05-01", path=f"m{n}.py") for year in (4, 6) for n in range(400)]
    rows = [sample(f"s-{n}", provenance=each) for n, each in enumerate(made)]
    found = [each for each in Splits(newer="2026-01-01", valid=0.1)(rows, HERE) if isinstance(each, Sample)]
    assert all((each.split == "test") == (each.provenance.released > "2026") for each in found)
    assert Counter(each.split for each in found) == {"test": 400, "train": 360, "valid": 40}
    drawn = Splits(valid=0.1, test=0.1).drawn({"large": 80, "a": 10, "b": 9, "c": 1})
    assert "large" not in drawn
    assert set(drawn.values()) == {"test", "valid"}
    assert next(iter(Splits()([sample(split="test")], HERE))).split == "test"  # type: ignore[union-attr]
    here, there = (Provenance("p", path=path, function="f") for path in ("held.py", "other.py"))
    before = [sample("a", split="test", provenance=here), sample("b", provenance=replace(here, function="g"))]
    after = [
        each.split for each in Splits()([*before, sample("c", provenance=there)], HERE) if isinstance(each, Sample)
    ]
    assert after == ["test", "test", "train"], "what was held out before holds out all that is made of its file"
    untested = replace(rows[-1], tags=Tags(UNVERIFIED))
    (refused,) = Splits(newer="2026-01-01")([untested], HERE)
    assert isinstance(refused, Refused)
    assert refused.reason == UNVERIFIED
    with pytest.raises(UserError, match="is no date"):
        next(iter(Splits(newer="soon")([], HERE)), None)


DIRTY = {
    "email": "ask jo.miller@siemens.de about it",
    "phone": "call +49 30 1234 5678 now",
    "iban": "pay to DE89 3704 0044 0532 0130 00 please",
    "card": "card 4929 1234 5678 9015 of hers",
    "ip": "ssh to 91.198.174.192 first",
    "secret": "token = 'ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3hJ6'",
}


@pytest.mark.parametrize("kind", DIRTY)
def test_each_kind_is_found_once_and_its_placeholder_never(kind: str) -> None:
    clean, counts = scrub_text(DIRTY[kind])
    assert counts == {kind: 1}
    assert clean != DIRTY[kind]
    assert scrub_text(clean) == (clean, Counter())


@pytest.mark.parametrize(
    "text",
    [
        'DB_PASSWORD = "x7Kp2mQ9vR4tW8zL"',
        'DB_PASSWORD = "k9$Lm!2xQ#pR7vW&tY4z^b8"',
        "postgres://svc:x7Kp2mQ9vR4tW8zL@db.corp:5432/app",
    ],
)
def test_a_password_of_a_dozen_mixed_letters_is_no_example(text: str) -> None:
    clean, counts = scrub_text(text)
    assert counts == {"secret": 1}
    assert "2" not in clean.partition("SECRET_1")[0]


@pytest.mark.parametrize(
    "text",
    [
        "password = 'hunter2 or so'; password = 'correct-horse-1'; token = get_token_v2(name='a1')",
        "PASSWORD_HASHERS = ['django.contrib.auth.hashers.PBKDF2PasswordHasher']; secret = f'{a}-{b2}-{c3}-{d4}'",
        "@pytest.mark.parametrize",
        "git@github.com:a/b.git and user@example.com and logo@2x.png",
        "version 10.20.30.40, 127.0.0.1, 10.0.0.1, 192.0.2.7, 8.8.8.8, package==10.12.13.14",
        "0.4929123456789015 4929123456789016 4111111111111111 1700000000000",
        "DE89 3704 0044 0532 0130 01 is no account",
        "password = os.environ['PASSWORD']; token = 'test'; key = 'abc'",
        "+1 202-555-0123 and 2024-01-02 and +1234567890",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ],
)
def test_what_belongs_to_nobody_stays(text: str) -> None:
    assert scrub_text(text) == (text, Counter())


def test_one_person_gets_one_placeholder_and_names_go_when_given() -> None:
    text = "Ada Lovelace <ada@lovelace.net>, bob@lovelace.net, ada@lovelace.net"
    clean, counts = scrub_text(text, ["Ada Lovelace", "Ada"])
    assert clean == "Person 1 <person1@example.com>, person2@example.com, person1@example.com"
    assert counts == {"email": 2, "name": 1}


def test_prompts_are_cleaned_and_replies_refused() -> None:
    call = ToolCall("read", {"path": "a", "lines": ["ada@lovelace.net"]}, "ada@lovelace.net")
    asked = (Message("user", f"{DIRTY['email']} {DIRTY['secret']}"), Message("assistant", "", (call,)))
    clean, learned, secret, patched = Scrub()(
        [
            replace(sample(), messages=asked),
            sample(answer=DIRTY["email"]),
            replace(sample(), calls=(ToolCall("write", {"text": DIRTY["secret"]}),)),
            task(solution=unified("pack/a.py", "", DIRTY["secret"] + "\n")),
        ],
        HERE,
    )
    assert isinstance(clean, Sample)
    assert "lovelace" not in repr(clean)
    assert clean.tags.measures == {"scrubbed:email": 2.0, "scrubbed:secret": 1.0}
    assert [each.reason for each in (learned, secret, patched) if isinstance(each, Refused)] == [
        "personal",
        "secret",
        "secret",
    ]
    assert "ghp_" not in repr((secret, patched))


@pytest.mark.parametrize(
    ("expression", "fine"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR mit", True),
        ("MIT AND GPL-3.0-only", False),
        ("(GPL-2.0-only OR MIT) AND Apache-2.0 WITH LLVM-exception", True),
        ("MIT)", False),
        ("", False),
    ],
)
def test_licence_expressions(expression: str, fine: bool) -> None:
    assert allows(expression, ("MIT", "Apache-2.0")) is fine


BSD = "Redistribution and use in source and binary forms, with or without modification, are permitted provided that so"


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("pyproject.toml", '[project]\nname = "a"\nlicense = "MIT OR Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("PKG-INFO", "Name: a\nLicense-Expression: BSD-3-Clause\n\nText", "BSD-3-Clause"),
        ("PKG-INFO", "Classifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("PKG-INFO", "Classifier: License :: OSI Approved :: BSD License\nLicense: BSD\n", ""),
        ("PKG-INFO", "License: Apache License, Version 2.0\n", "Apache-2.0"),
        ("LICENSE.txt", f"Copyright me\n{BSD}. No one may endorse or promote\n", "BSD-3-Clause"),
        ("COPYING", f"Mine\n{BSD}\n", "BSD-2-Clause"),
        ("LICENSE", "All rights reserved.\n", ""),
    ],
)
def test_licences_are_told_by_what_a_source_says(tmp_path: Path, name: str, text: str, licence: str) -> None:
    (tmp_path / name).write_text(text)
    assert licence_of(tmp_path) == licence


def test_sources_get_their_licence_and_unknown_ones_stay_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text((Path(__file__).parents[2] / "LICENSE").read_text())
    ours, bare = Source("ours", str(tmp_path), "1"), Source("bare", str(tmp_path / "none"), "1")
    kept, refused = Licences()([ours, bare], HERE)
    assert isinstance(kept, Source)
    assert kept.licence == "Apache-2.0"
    assert isinstance(refused, Refused)
    assert refused.reason == "licence"
    assert [*Licences(unknown="keep")([bare], HERE)] == [bare]


SONG = "the quick brown fox jumps over the lazy dog while seven old wizards make toxic brew for the evil queen and jack"


def _listed(path: Path, one_in: int) -> str:
    hashes = contamination.hashes([SONG], one_in=one_in)
    contamination.write(path, HashList("Song", 13, one_in, hashes))
    return str(path)


def test_what_holds_a_benchmark_is_refused_by_hashes_alone(tmp_path: Path) -> None:
    path = _listed(tmp_path / "song.json", 1)
    assert "fox" not in Path(path).read_text()
    rows = [sample("s-1", f"Explain: {SONG.upper()}!"), sample("s-2", " ".join(reversed(SONG.split()))), task()]
    found = [*Contamination((path,))(rows, HERE)]
    assert [getattr(each, "reason", "") for each in found] == ["contaminated", "", ""]
    assert contamination.read(Path(path)).hashes.tolist() == contamination.hashes([SONG]).tolist()
    with pytest.raises(UserError, match="is no hash list"):
        contamination.read(Path(__file__))


def test_a_part_of_the_hashes_is_the_same_part_on_both_sides() -> None:
    whole, part = contamination.hashes([CODE, SONG], 5), contamination.hashes([SONG, CODE], 5, 4)
    assert 0 < len(part) < len(whole)
    assert part.tolist() == [value for value in whole.tolist() if value % 4 == 0]


def test_functions_of_quixbugs_are_known_by_their_signatures() -> None:
    rows = [
        sample("s-1", "def knapsack(capacity: int, items: list[tuple[int, int]] = ()) -> int:\n    ..."),
        sample("s-2", "def knapsack(bag): ..."),
    ]
    found = [*Contamination()(rows, HERE)]
    assert [getattr(each, "detail", "") for each in found] == ["knapsack is a function of QuixBugs.", ""]
    assert {one.name for one in contamination.shipped()} == {"HumanEval", "QuixBugs"}
    assert all(np.all(one.hashes[1:] > one.hashes[:-1]) for one in contamination.shipped())


def test_a_solution_is_read_upon_its_start(tmp_path: Path) -> None:
    old = '[project]\nname = "a"\n\n[tool.pytest.ini_options]\naddopts = "-q"\n'
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = a\n")
    (tmp_path / "pyproject.toml").write_text(old)
    start = unified("setup.cfg", "[metadata]\nname = a\n", "[metadata]\nname = b\n")
    back = unified("setup.cfg", "[metadata]\nname = b\n", "[metadata]\nname = a\n")
    assert check(task(start=start, solution=back), tmp_path) is None
    assert check(task(start=start, solution=back + unified("pyproject.toml", old, old.replace("-q", "-k x"))), tmp_path)


def test_lists_are_made_from_the_files_that_a_user_has(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(
        gzip.compress(json.dumps({"id": "x/1", "problem": [{"text": SONG}]}).encode())
    )
    (tmp_path / "b.py").write_text(SONG)
    (tmp_path / "c.json").write_text(json.dumps([[SONG]], indent=1))
    for path in sorted(tmp_path.iterdir()):
        assert hash_list("Song", [path]).hashes.tolist() == contamination.hashes([SONG]).tolist()
    with pytest.raises(UserError, match="hold no 13 words"):
        hash_list("none", [])
    with pytest.raises(UserError, match="cannot be read"):
        hash_list("gone", [tmp_path / "gone.txt"])
