"""The tools that know definitions."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.safety.permissions import Access
from assistant.safety.sandbox import detect
from assistant.tools.base import ToolContext, ToolError
from assistant.tools.registry import read_call
from assistant.workspace.files import Workspace
from assistant.workspace.symbols import indented
from model.format import ToolCall

CART = """class Base:
    def add(self):
        return 0


class Cart(Base):
    @property
    # the sum
    def total(self):
        return sum(
            self.items
        )

    def add(self, item):
        self.items.append(item)


def pay(cart): return Cart().total
"""


@pytest.fixture
def context(tmp_path):
    root = tmp_path / "repo"
    root.mkdir()
    subprocess.run(["git", "init", "-q", root], check=True)
    (root / "cart.py").write_text(CART)
    (root / "use.py").write_text("from cart import Cart, pay\n\npay(Cart())\n")
    (root / "win.ts").write_bytes(b"export class A {\r\n  run() { return 1; }\r\n}\r\n")
    return ToolContext(Workspace(root), detect(root))


async def run(context, name, **arguments):
    try:
        return await read_call(ToolCall(name, arguments)).run(context)
    finally:
        context.seen.next_reply()


async def replaced(context, path, **arguments):
    await run(context, "read_file", path=path)
    result = await run(context, "replace_symbol", path=path, **arguments)
    return result, (context.workspace.root / path).read_bytes().decode()


async def test_repo_map_shows_definitions_about_the_focus(context):
    shown = await run(context, "repo_map")
    assert "cart.py:\n" in shown.output
    assert "class Cart(Base):" in shown.output
    assert shown.summary.startswith("about ")
    assert shown.output.index("class Cart(Base):") < shown.output.index("win.ts:\nexport class A")
    assert "class A" in (await run(context, "repo_map", focus="win.ts", budget="100")).output
    with pytest.raises(ToolError, match="budget"):
        read_call(ToolCall("repo_map", {"budget": 1}))


async def test_repo_map_shows_first_what_belongs_to_the_files_that_are_known(context):
    for n in range(40):
        (context.workspace.root / f"made{n:02}.py").write_text(f"def some_name_{n}(): pass\n")
        (context.workspace.root / f"user{n:02}.py").write_text(f"some_name_{n}()\n")
    assert "some_name_33" not in (await run(context, "repo_map", budget=100)).output
    await run(context, "read_file", path="user33.py")
    shown = (await run(context, "repo_map", budget=100)).output
    assert "some_name_33" in shown
    assert "some_name_38" not in shown
    context.seen.wrote("made38.py", "a digest")
    assert "some_name_38" in (await run(context, "repo_map", budget=100)).output


async def test_symbols_of_a_file_and_of_a_name(context):
    listed = (await run(context, "symbols", path="cart.py")).output.splitlines()
    assert listed[1:4] == ["1-3\tclass Base:", "2-3\t    def add(self):", "6-15\tclass Cart(Base):"]
    found = (await run(context, "symbols", symbol="Cart")).output.splitlines()
    assert found == ["1 definition", "cart.py:6-15: Cart: class Cart(Base):", "Used in:", "use.py:1 and 1 more",
                     "cart.py:18"]  # fmt: skip
    assert "not defined" in (await run(context, "symbols", symbol="nowhere")).output
    for arguments in ({}, {"path": "cart.py", "symbol": "Cart"}):
        with pytest.raises(ToolError, match="a path or a symbol"):
            read_call(ToolCall("symbols", arguments))
    with pytest.raises(ToolError, match="does not exist"):
        await run(context, "symbols", path="none.py")


async def test_replace_symbol_takes_exactly_the_definition_with_its_decorators(context):
    new = "@cached\ndef total(self):\n    return 1"
    result, text = await replaced(context, "cart.py", symbol="Cart.total", new=new)
    before, after = CART.split("    @property")[0], CART.split("        )\n")[1]
    assert text == f"{before}    @cached\n    def total(self):\n        return 1\n{after}"
    assert "indented to fit" in result.output


async def test_replace_symbol_asks_like_an_edit_and_shows_the_diff(context):
    await run(context, "read_file", path="cart.py")
    tool = read_call(ToolCall("replace_symbol", {"path": "cart.py", "symbol": "pay", "new": "def pay(): pass"}))
    permission = tool.permission(context)
    assert permission.access is Access.EDIT
    assert "-def pay(cart): return Cart().total\n+def pay(): pass\n" in permission.preview
    assert tool.changes(context) == ("cart.py",)
    assert (context.workspace.root / "cart.py").read_text() == CART


async def test_an_ambiguous_name_is_refused_with_its_candidates(context):
    with pytest.raises(ToolError, match=r"more than once in cart.py: Base.add \(line 2\), Cart.add \(line 14\); give"):
        await replaced(context, "cart.py", symbol="add", new="def add(): pass")
    _, text = await replaced(context, "cart.py", symbol="add", line=14, new="    def add(self): pass")
    assert "    def add(self):\n        return 0\n" in text
    assert "    def add(self): pass\n\n\ndef pay" in text
    with pytest.raises(ToolError, match=r"sub is not defined in cart.py; defined are Base \(line 1\)"):
        await replaced(context, "cart.py", symbol="sub", new="x = 1")


async def test_what_was_not_read_or_changed_since_is_shown_first(context):
    with pytest.raises(ToolError, match=r"(?s)have not read cart.py.*14\t    def add") as refused:
        await run(context, "replace_symbol", path="cart.py", symbol="Cart.add", new="    def add(self): pass")
    assert "class Base" not in str(refused.value)
    (context.workspace.root / "cart.py").write_text("# new\n" + CART)
    with pytest.raises(ToolError, match="changed since"):
        await run(context, "replace_symbol", path="cart.py", symbol="Cart.add", new="    def add(self): pass")
    assert (await run(context, "replace_symbol", path="cart.py", symbol="Cart.add", new="    def add(self): pass")).ok


async def test_line_endings_stay_and_broken_syntax_is_told(context):
    result, text = await replaced(context, "win.ts", symbol="A#run", new="run() {\n  return (;\n}")
    assert text == "export class A {\r\n  run() {\r\n    return (;\r\n  }\r\n}\r\n"
    assert "no longer parses" in result.output
    (context.workspace.root / "open.py").write_text("def f():\n    x = g(1\n\ndef h():\n    return 2\n")
    with pytest.raises(ToolError, match="f does not parse as it is, so where it ends cannot be told"):
        await replaced(context, "open.py", symbol="f", new="def f(): pass")
    with pytest.raises(ToolError, match="new text is empty"):
        await replaced(context, "cart.py", symbol="pay", new=" ")
    (context.workspace.root / "one.js").write_text("class A { f() {} g() {} }\n")
    with pytest.raises(ToolError, match="shares its lines"):
        await replaced(context, "one.js", symbol="A.f", new="f() { return 1 }")


@pytest.mark.parametrize(
    ("new", "margin", "there"),
    [
        ("def f():\n    pass", "    ", "    def f():\n        pass"),
        ("def f():\n        pass", "    ", "    def f():\n        pass"),
        ("        def f():\n            pass", "    ", "    def f():\n        pass"),
        ("f() {\n    }", "    ", "    f() {\n    }"),
        ("f() {\n}", "\t", "\tf() {\n\t}"),
        ("def f():\n\n    'a'", "  ", "  def f():\n\n    'a'"),
    ],
)
def test_new_text_is_indented_as_what_it_replaces(new, margin, there):
    assert indented(new, margin) == there


@given(st.lists(st.text("ab :", min_size=1).filter(str.strip), min_size=1), st.text(" \t", max_size=6))
def test_text_that_fits_is_left_as_it_is(lines, margin):
    text = "\n".join(f"{margin}{line.strip()}" for line in lines)
    assert indented(text, margin) == text
