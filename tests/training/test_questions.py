"""Questions on code: every kind on a file whose answers are known, and others against what Python itself says."""

import inspect
import re
import textwrap
import time
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.questioning.calls import about_call
from training.data.questioning.functions import about_function
from training.data.questioning.words import EN, ZH
from training.data.questions import KINDS, Questions
from training.data.repositories.modules import Definition, functions, module_of
from training.data.schema import Refused, Source, as_line
from training.data.stage import Context
from training.seeds import rng

SHOP = '''"""A shop."""

from collections import OrderedDict as Ordered
from contextlib import contextmanager

import numpy as np

__all__ = ["Basket", "total", "prices"]

LIMIT = 3


def total(items: list[int], start: int = 0, *, tax: float = 0.2) -> float:
    """Add all items up and put the tax on top of them.

    More words.
    """
    if not items:
        raise ValueError("nothing")
    for item in items:
        start += item
    while start > 100:
        start -= 1
    best = max(items)
    rest = [x for x in items if x != best]
    return start * (1 + tax)


def prices(basket):
    try:
        yield from basket.items
    except (KeyError, TypeError):
        return


@contextmanager
def opened(path):
    yield total([len(path)])


def unrelated(a, b):
    return a


def also(a, b):
    if a:
        return total([a])
    return b


async def later():
    return 1


class Stock:
    def __init__(self, size):
        self.size = size
        self.left: int = size

    def take(self, n):
        return n

    def close(self):
        pass


class Basket(Stock):
    def take(self, n):
        return self._check(n)

    def _check(self, n):
        return n

    def put(self, n):
        self.left = n
'''


@pytest.fixture
def source(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "till.py").write_text(SHOP)
    (tmp_path / "shop" / "names.py").write_text(
        "import os\n\nA, B = 1, 2\n\n\ndef one():\n    pass\n\n\ndef two():\n    pass\n"
    )
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_till.py").write_text("def test_never_asked(a=1):\n    pass\n")
    return Source("toy", str(tmp_path), "sha256:0", "MIT", "2026-01-02")


def asked(source, **options):
    return list(Questions(**{"seed": 5, "chinese": 0.0, **options})([source], Context(Path(source.root))))


KNOWN = [
    ("returns", "total", "`float`"),
    ("raises", "total", "`ValueError`"),
    ("catches", "prices", "`KeyError`, `TypeError`"),
    ("optional", "total", "`start`, `tax`"),
    ("required", "total", "`items`"),
    ("keyword_only", "total", "`tax`"),
    ("generator", "prices", "Yes."),
    ("form", "opened", "A context manager, made from a generator."),
    ("form", "later", "A coroutine."),
    ("decorators", "opened", "`@contextmanager`"),
    ("calls", "total", "`ValueError`, `max`"),
    ("callers", "total", "`opened`, `also`"),
    ("callers", "Basket._check", "`Basket.take`"),
    ("count_returns", "also", "2"),
    ("count_loops", "total", "2"),
    ("purpose", "total", "Add all items up and put the tax on top of them."),
    ("assigned", "total", "`item`, `best`, `rest`"),
    ("bases", "Basket", "`Stock`"),
    ("methods", "Stock", "`take`, `close`"),
    ("attributes", "Stock", "`size`, `left`"),
    ("overrides", "Basket", "`take`"),
    ("exports", "shop/till.py", "`Basket`, `total`, `prices`"),
    ("defines", "shop/names.py", "`one`, `two`"),
]


def test_each_kind_is_answered_as_the_file_says(source):
    found = [task for seed in range(8) for task in asked(source, seed=seed)]
    answers = {(task.provenance.made_by.partition(":")[2], task.provenance.function): task.answer for task in found}
    assert {key: answers.get(key[:2]) for key in KNOWN} == {key: key[2] for key in KNOWN}
    by_kind = {task.provenance.made_by.partition(":")[2] for task in found}
    assert by_kind == {*KINDS}
    assert {task.answer for task in found if task.provenance.made_by == "questions:constant"} == {"`3`"}
    imported = {task.answer for task in found if task.provenance.made_by == "questions:import_from"}
    assert imported == {"`collections`", "`contextlib`", "`numpy`"}


def test_where_something_is_defined_is_the_line_that_defines_it(source):
    lines = SHOP.split("\n")
    found = [task for seed in range(5) for task in asked(source, seed=seed, kinds=("defined_at",))]
    assert found
    for task in found:
        path, _, number = task.answer.strip("`").partition(":")
        assert path == "shop/till.py"
        assert lines[int(number) - 1].lstrip().startswith(f"def {task.provenance.function}(")
        assert f"{task.answer.strip('`')}: def" in task.context


def test_what_is_shown_is_enough_and_short(source):
    for task in asked(source):
        assert task.context.count("\n") < 60
        assert task.verification.by == "construction"
        assert (task.licence, task.provenance.released, task.kind) == ("MIT", "2026-01-02", "question")
        assert "{" not in task.statement or task.provenance.made_by == "questions:bound"
        if task.provenance.made_by == "questions:purpose":
            assert task.answer not in task.context
        assert not task.thought or task.thought.split("\n")[-1].endswith(task.answer)
        assert "test_never_asked" not in task.context


def test_every_kind_has_wordings_in_both_languages_that_fill_the_same_places():
    assert {*EN} == {*ZH}
    assert len(EN) >= 12
    for kind in EN:
        assert len({*EN[kind]}) >= 3
        assert len({*ZH[kind]}) >= 3
        known = {"f", "path", "p", "call", "base"}
        assert all({*re.findall(r"\{(\w+)\}", words)} <= known for words in (*EN[kind], *ZH[kind]))
        assert all(re.search(r"[\u4e00-\u9fff]", words) for words in ZH[kind])


def test_the_same_seed_asks_the_same_and_another_does_not(source):
    first, again = ([as_line(task) for task in asked(source, chinese=0.5)] for _ in range(2))
    assert first == again
    assert first != [as_line(task) for task in asked(source, chinese=0.5, seed=6)]
    assert {task.tags.language for task in asked(source, chinese=0.5)} == {"en", "zh"}


def test_few_are_spread_over_the_kinds_and_do_not_repeat(source):
    few = asked(source, each=20)
    kinds = [task.provenance.made_by for task in few]
    assert len(few) == 20
    assert len({*kinds}) >= 18
    many = asked(source, wordings=40)
    tasks = [task for task in many if not isinstance(task, Refused)]
    assert len({task.id for task in tasks}) == len(tasks)
    assert {each.reason for each in many if isinstance(each, Refused)} == {"duplicate"}


def test_files_that_are_no_python_or_lead_elsewhere_are_left_out(source):
    root = Path(source.root)
    (root / "broken.py").write_text("def f(:\n")
    (root / "odd.py").write_bytes(b"def f(a=1):\r\n    return '\xff'\r\n")
    (root / "link.py").symlink_to(__file__)
    (root / "deep.py").write_text("x = " + "(" * 500 + ")" * 500)
    assert {task.provenance.path for task in asked(source)} == {"shop/till.py", "shop/names.py"}


names = st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=5, unique=True)


@settings(max_examples=50, deadline=None)
@given(names, st.integers(0, 5), st.integers(0, 5), st.integers(0, 99))
def test_python_binds_calls_as_the_answers_say(parameters, defaulted, keywords, seed):
    """The call is made for real, and each parameter asked for has the value that the answer names."""
    parts = [f"{name}={n * 7}" if n >= len(parameters) - defaulted else name for n, name in enumerate(parameters)]
    if 0 < keywords < len(parts):
        parts.insert(keywords, "*")
    text = f"def f({', '.join(parts)}):\n    return locals()\n"
    module = module_of("m.py", text)
    (definition,) = functions(module)
    space = {}
    exec(text, space)
    for question in about_call(definition, rng(seed, "call")):
        bound = eval(question.slots["call"], space)
        answer = question.answer.en.strip("`")
        assert repr(bound[question.slots["p"]]) == repr(eval(answer))


def test_python_agrees_on_its_own_library():
    """Signatures, generators and coroutines as `inspect` sees them: another way to the same facts."""
    checked = 0
    for module in (textwrap, inspect):
        parsed = module_of("m.py", inspect.getsource(module))
        for definition in functions(parsed):
            real = getattr(module, definition.qualified, None)
            if definition.owner is None and inspect.isfunction(real) and not hasattr(real, "__wrapped__"):
                checked += agrees(definition, real)
    assert checked > 150


def agrees(definition: Definition, real) -> int:
    given_ = inspect.signature(real).parameters.values()
    plain = [p for p in given_ if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    want = {
        "optional": ", ".join(f"`{p.name}`" for p in plain if p.default is not p.empty) or "None.",
        "required": ", ".join(f"`{p.name}`" for p in plain if p.default is p.empty) or "None.",
        "keyword_only": ", ".join(f"`{p.name}`" for p in plain if p.kind is p.KEYWORD_ONLY) or "None.",
        "generator": "Yes." if inspect.isgeneratorfunction(real) else "No.",
    }
    found = list(about_function(definition, rng(1, definition.qualified)))
    for question in found:
        if question.kind in want:
            assert question.answer.en == want[question.kind], definition.qualified
        if question.kind == "default":
            value = eval(question.answer.en.strip("`"), {**vars(inspect), **vars(textwrap)})
            default = inspect.signature(real).parameters[question.slots["p"]].default
            assert value == default or value.__name__ == default.__name__ == "<lambda>"
    return len(found)


def test_many_are_made_quickly(tmp_path):
    """A floor, far under what is measured, so that nothing quadratic creeps in."""
    (tmp_path / "a.py").write_text(inspect.getsource(inspect))
    started = time.process_time()
    made = list(islice(Questions(1)([Source("s", str(tmp_path), "sha256:0")], Context(tmp_path)), 1000))
    assert len(made) > 300
    assert time.process_time() - started < 4.0
