"""Small mistakes in Python code, and the tasks that are made of them."""

import ast
import json
import subprocess
import sys
import textwrap
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from assistant.evaluation.more_operators import ALL_OPERATORS
from assistant.evaluation.mutants import TRUTH, build_tasks
from assistant.evaluation.mutation import lines_of, mutants
from assistant.evaluation.operators import OPERATORS
from assistant.tasks.task import read_tasks

BY_NAME = {operator.name: operator for operator in ALL_OPERATORS}


def made(body, *names, head="def f(a, b, self=None):", lines=None):
    """The first changed line of every mutant, by these operators or all."""
    source = f"{head}\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
    chosen = [BY_NAME[name] for name in names] or OPERATORS
    return sorted(
        mutant.text.splitlines()[mutant.line - 1].strip()
        for mutant in mutants(source, seed=0, operators=chosen, lines=lines)
    )


@pytest.mark.parametrize(
    ("operator", "line", "expected"),
    [
        ("comparison", "return a  <b", ["return a  <=b"]),
        ("comparison", "return a not in b", ["return a in b"]),
        ("comparison", "return a is b", ["return a is not b"]),
        ("arithmetic", "return a+b", ["return a-b"]),
        ("arithmetic", "a //= b", []),
        ("arithmetic", "a += b", ["a -= b"]),
        ("boolean", "return (a and  # why\n  b)", ["return (a or  # why"]),
        ("dropped condition", "if (a and b): return 1", ["if (a): return 1", "if (b): return 1"]),
        ("off by one", "return 1, 0x10", ["return 0, 0x10", "return 2, 0x10"]),
        ("truth", "return True", ["return False"]),
        ("negated condition", "if a or b: pass", ["if not (a or b): pass"]),
        ("negated condition", "return [x for x in a if b(x)]", ["return [x for x in a if not b(x)]"]),
        ("negated condition", "while not a: pass", []),
        ("dropped not", "return not  (a)", ["return (a)"]),
        ("dropped not", "return -a", ["return a"]),
        ("swapped arguments", "return g(a, b, *a)", ["return g(b, a, *a)"]),
        ("swapped arguments", "return g(a, a) or g(a, k=b)", []),
        ("removed result", "return a", ["return None"]),
        ("removed result", "return None", []),
        ("removed statement", "g(a); b = 1", ["pass; b = 1"]),
        ("removed statement", "self.a = b", ["pass"]),
        ("removed statement", "raise ValueError(a)", ["pass"]),
        ("removed statement", "a = b", []),
        ("wrong variable", "c = a.b", ["c = b.b"]),
        ("wrong variable", "return g(b=a)", ["return g(b=b)"]),
        ("slice bound", "return a[1:]", ["return a[1:-1]", "return a[:]"]),
        ("break or continue", "for x in a: break", ["for x in a: continue"]),
        ("sibling function", "return max(a)", ["return min(a)"]),
        ("sibling function", "return a.lstrip( )", ["return a.rstrip( )"]),
        ("other exception", "raise ValueError(a)", ["raise TypeError(a)"]),
        ("other exception", "raise KeyError", ["raise IndexError"]),
        ("other exception", "try: a()\nexcept (KeyError, b): pass", ["except (IndexError, b): pass"]),
        ("other exception", "try: a()\nexcept OSError as b: pass", ["except ValueError as b: pass"]),
        ("other exception", "raise a(b) from c", []),
        ("repeated statement", "a += 1  # why", ["a += 1; a += 1  # why"]),
        ("repeated statement", "a(b)", ["a(b); a(b)"]),
        ("repeated statement", "a = b", []),
        ("dropped argument", "return g(a, k=b, j=1)", ["return g(a, j=1)", "return g(a, k=b)"]),
        ("dropped argument", "return g(a, b, )", ["return g(a)"]),
        ("dropped argument", "return g(a, *b)", []),
    ],
)
def test_an_operator_makes_these_mistakes(operator, line, expected):
    assert made(line, operator) == expected


@pytest.mark.parametrize(
    ("default", "other"), [("True", "False"), ("3", "4"), ("''", "' '"), ("'x'", "''"), ("None", None), ("g()", None)]
)
def test_another_default(default, other):
    found = made("return a", "changed default", head=f"def f(a={default}):")
    assert found == ([f"def f(a={other}):"] if other else [])


def test_only_what_is_run_is_changed():
    assert made("c: int | None = None", "arithmetic", "truth") == []
    assert made("return a", "truth", head="@g(True)\ndef f(a: x[1:] = 1) -> True:") == []
    assert list(mutants("LIMIT = 1 + 2\n", seed=0)) == []
    inner = list(mutants("def f(a):\n    def g(b):\n        return b < 1\n    return g\n", seed=0))
    assert {mutant.function for mutant in inner if mutant.line == 3} == {"f.g"}


def test_lines_that_no_test_runs_stay():
    body = "if a < b:\n    return 1\nreturn 2"
    assert made(body, "off by one", "comparison", lines={2, 4}) == ["if a <= b:", "return 1", "return 3"]
    assert made(body, "off by one", "comparison", lines={1}) == []


def test_a_variable_is_not_used_before_it_is_there():
    assert made("c = a\nd = c", "wrong variable", head="def f(a):") == ["d = a"]


SOURCE = textwrap.dedent('''
    class Box:
        """A box, with  odd   spacing\tand a form feed\x0c here."""

        def area( self, width = 2,height=3 ):
            if width<=0 or  height <= 0 :   # nothing
                raise ValueError( "empty" )
            return (width
                    * height)

        def label(self, names, sep=", "):
            found = [name for name in names if name]
            for name in found[1:]:
                if name.startswith("x"): continue
                self.last = name
            return sep.join(found, )
''')


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32), ending=st.sampled_from(["\n", "\r\n"]))
def test_one_place_is_changed_and_the_order_is_the_seeds(seed, ending):
    source = SOURCE.replace("\n", ending)
    old = lines_of(source)
    found = list(mutants(source, seed=seed))
    assert found[:9] == list(islice(mutants(source, seed=seed), 9))
    assert {mutant.text for mutant in found} == {mutant.text for mutant in mutants(source, seed=seed + 1)}
    for mutant in found:
        new, count = lines_of(mutant.text), len(mutant.original)
        assert ast.dump(ast.parse(mutant.text)) != ast.dump(ast.parse(source))
        assert old[mutant.line - 1 : mutant.line - 1 + count] == list(mutant.original)
        assert [*old[: mutant.line - 1], *new[mutant.line - 1 : mutant.end_line]] == new[: mutant.end_line]
        assert new[mutant.end_line :] == old[mutant.line - 1 + count :]


def test_kinds_take_turns():
    first = [mutant.operator for mutant in mutants(SOURCE, seed=3)][:10]
    assert len(set(first)) == 10


@given(st.text(max_size=200))
def test_what_is_no_python_has_no_mutants(text):
    for mutant in mutants(text, seed=0):
        ast.parse(mutant.text)


SHOP = {
    "shop.py": textwrap.dedent("""
        def total(prices, free=0):
            return sum(prices) - free

        def cheapest(prices):
            return min(prices) if prices else None

        def unused(a):
            return a + 1
    """),
    "test_shop.py": textwrap.dedent("""
        import unittest
        import shop

        class ShopTest(unittest.TestCase):
            def test_total(self):
                self.assertEqual(shop.total([1, 2]), 3)
                self.assertEqual(shop.total([1, 2], 1), 2)
            def test_cheapest(self):
                self.assertEqual(shop.cheapest([2, 1]), 1)
            def test_none(self):
                self.assertIsNone(shop.cheapest([]))
            def test_types(self):
                self.assertIsInstance(shop.total([1]), int)
    """),
}
TEST = f"{sys.executable} -m unittest -v"


@pytest.fixture
def shop(tmp_path):
    root = tmp_path / "shop"
    root.mkdir()
    for name, text in {**SHOP, "pytest.ini": "[pytest]\n"}.items():
        (root / name).write_text(text)
    return root


def test_tasks_that_the_tests_notice(shop, tmp_path):
    out = tmp_path / "tasks"
    made = build_tasks(shop, out, seed=5, count=3, test=TEST, jobs=2)
    assert (
        [task.id for task in made] == ["shop-5-01", "shop-5-02", "shop-5-03"] == [task.id for task in read_tasks(out)]
    )
    assert {task.function for task in made[:2]} == {"total", "cheapest"} > {made[2].function}
    for task, told in zip(made, read_tasks(out), strict=True):
        truth = json.loads((task.folder / TRUTH).read_text())
        repo = task.folder / "repo"
        lines = (repo / task.path).read_text().splitlines(keepends=True)
        assert (told.kind, told.test, told.tests) == ("fix", TEST, task.tests)
        assert not (repo / TRUTH).exists()
        assert lines[task.line - 1 : task.end_line] == truth["mutated"]
        assert 0 < len(task.tests) <= 2
        assert subprocess.run([*TEST.split(), *task.tests], cwd=repo, capture_output=True).returncode == 1
        subprocess.run(["git", "apply", "-"], cwd=repo, input=truth["patch"], text=True, check=True)
        assert (repo / "shop.py").read_text() == SHOP["shop.py"]


def test_tests_that_do_not_run_are_one_line(shop, tmp_path):
    (shop / "test_shop.py").write_text("")
    with pytest.raises(UserError, match="do not run: No tests were found"):
        build_tasks(shop, tmp_path / "tasks", seed=1, count=1, test=TEST)
