"""Noise goes out of an attempt and nothing else does; what is not needed can be found."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.fix.changes import Change, Changes, FileState
from assistant.fix.meaning import meaning
from assistant.fix.pieces import joined, pieces
from assistant.fix.tidy import tidied

LINES = [
    "import os",
    "import sys",
    "from a import b, c",
    "",
    "",
    "def f(x, y='one'):",
    "    # what it does",
    "    text = 'two' + \"three\"",
    "    if x:",
    "        return {'a': 1, 'b': text}  # noqa",
    "    return g(x, y)",
    "",
    "",
    "class A:",
    "    def h(self):",
    "        return '''a",
    "          b'''",
    "",
    "    def i(self):",
    "        pass",
]
CODE = "\n".join(LINES).encode() + b"\n"
REAL = {
    "return g(x, y)": "return g(y, x)",
    "pass": "return 1\n\n    def new(self):\n        return 2",
    "if x:": "if x is not None:",
    "# what it does": "# what it really does",
    "          b'''": "        b'''",
}
NOISE = {
    "y='one'": 'y="one"',
    "import os\nimport sys": "import sys\nimport os",
    "import b, c": "import c, b",
    "'two' + \"three\"": '"two" + "three"',
    "{'a': 1, 'b': text}": "{\n            'a': 1,\n            'b': text,\n        }",
    "class A:": "class A:\n",
    "def i(self)": "def i(self, )",
    "def h(self):": "def h(self):   ",
}


def edited(text: bytes, edits: dict[str, str]) -> bytes:
    for old, new in edits.items():
        assert old.encode() in text
        text = text.replace(old.encode(), new.encode(), 1)
    return text


def change(old: bytes | None, new: bytes | None, path: str = "a.py") -> Changes:
    state = (None if content is None else FileState(content) for content in (old, new))
    return Changes.of([Change(path, *state)])


def content(changes: Changes) -> bytes | None:
    (one,) = changes.changes
    return one.new and one.new.content


def some(edits: dict[str, str]) -> st.SearchStrategy[dict[str, str]]:
    return st.sets(st.sampled_from([*edits]), min_size=1).map(lambda keys: {key: edits[key] for key in keys})


@given(some(REAL), some(NOISE), st.sampled_from(["keep", "crlf", "no end"]))
@settings(max_examples=40, deadline=None)
def test_what_is_left_is_what_was_meant(real, noise, endings):
    wanted = edited(CODE, real)
    attempt = edited(wanted, {key: new for key, new in noise.items() if key.encode() in wanted})
    attempt = {"keep": attempt, "crlf": attempt.replace(b"\n", b"\r\n"), "no end": attempt.rstrip()}[endings]
    left = content(tidied(change(CODE, attempt)))
    assert left == wanted
    assert ast.dump(ast.parse(left)) == ast.dump(ast.parse(wanted))


_text = st.lists(st.sampled_from([b"a", b"b ", b"\n", b"\r\n", b" ", b"'", b'"', b","])).map(b"".join)


@given(_text, _text)
def test_pieces_are_the_file(old, new):
    parts = pieces(old, new)
    assert joined(parts, ()) == new
    assert joined(parts, range(len(parts))) == old


@given(_text, _text, st.sampled_from(["a.py", "notes.md", "a.bin"]))
@settings(max_examples=60, deadline=None)
def test_whatever_it_is_it_means_the_same(old, new, path):
    attempt = change(old, new, path)
    left = tidied(attempt)
    if attempt:
        assert meaning(path, content(left)) == meaning(path, new)


@pytest.mark.parametrize(
    ("path", "old", "new", "left"),
    [
        ("a.js", "f();\nlet a = `x\n y`;\ng(1);\n", "  f();\n\nlet a = `x\n  y`;\n  g(1);", None),
        ("a.js", "f();\ng(1);\nh();\n", "  f( );\ng(2);\n\nh();", "f();\ng(2);\nh();\n"),
        ("a.js", "function f() {\n  return 1;\n}\ng(1);\n", "function f() {\n  return\n  1;\n}\ng(2);\n", "same"),
        ("a.go", "package a\r\n\r\nvar a = 1\r\n", "package a\nvar a   = 2\n", "package a\r\n\r\nvar a   = 2\r\n"),
        ("Makefile", "a:\n\tb\n", "a:\n    b\n    c\n", "same"),
        ("Makefile", "a:\n\tb\nc:\n", "a:\n\td\nc:\n\n\n", "a:\n\td\nc:\n"),
        ("notes.md", "one  \ntwo\r\n", "one\nthree\r\n", "same"),
        ("a.sh", "#!/bin/sh\r\necho a\r\n", "#!/bin/sh\necho b\n", "same"),
        ("a.py", "print 'a'\nprint 'b' \n", "print \"a\"\nprint 'c'\n", "same"),
        ("a.py", "from a import x\nfrom b import x\nf()\n", "from b import x\nfrom a import x\ng()\n", "same"),
        ("a.py", "a = 1  # type: int\nb = 1\n", "a = 1\nb = 2  # type: int\n", "same"),
    ],
)
def test_what_means_something_stays(path, old, new, left):
    wanted = {"same": new, None: new.replace("  f", "f").replace("\n\n", "\n").replace("  g(1);", "g(1);\n")}
    assert content(tidied(change(old.encode(), new.encode(), path))).decode() == wanted.get(left, left)


def test_what_cannot_be_cut_stays_whole():
    binary = Change("b.png", FileState(b"\0 \n"), FileState(b"\0\n"))
    wide = Change("w.txt", FileState("a\r\n".encode("utf-16")), FileState("a\n".encode("utf-16")))
    link = Change("link", FileState(b"x\n", "120000"), FileState(b"x", "120000"))
    mode = Change("run", FileState(b"a\n"), FileState(b"a\n", "100755"))
    fresh, gone = Change("new", None, FileState(b" ")), Change("old", FileState(b""), None)
    odd = Changes.of([binary, wide, link, mode, fresh, gone])
    assert tidied(odd) == odd


def test_files_of_noise_go_unless_there_is_nothing_else():
    noise = change(CODE, edited(CODE, NOISE), "noise.py")
    real = change(CODE, edited(CODE, REAL), "real.py")
    assert tidied(Changes.of([*noise.changes, *real.changes])) == real
    assert tidied(noise) == noise


def test_deep_or_broken_python_is_text():
    assert meaning("a.py", b"x = " + b"(" * 5_000).startswith("text")
    assert meaning("a.py", b"x = 1" + b" + 1" * 20_000).startswith(("text", "python"))
    assert meaning("a.py", b"# coding: nonsense\n").startswith("text")
    assert meaning("a.js", b"function (").startswith("text")
