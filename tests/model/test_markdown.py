"""Where code is, however the text comes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.markdown import CodeState


def state(pieces, *, asking):
    code = CodeState()
    for piece in pieces:
        code.feed(piece)
        if asking:
            assert code.code in (True, False)
    return code.line_start, code.span, code.code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (True, False, False)),
        ("a `b", (False, True, True)),
        ("a `b`", (False, False, False)),
        ("a ``b` c", (False, True, True)),
        ("a `b\n", (True, False, False)),
        ("```py\nx\n", (True, False, True)),
        ("```py\nx = `1`", (False, False, True)),
        ("```\nx\n```\n", (True, False, False)),
        ("a\n  ```\nb", (False, False, True)),
        ("say ``` here", (False, True, True)),
        ("x\n   ", (True, False, False)),
    ],
)
def test_where_code_is(text, expected):
    assert state([text], asking=False) == expected


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(["a", " ", "\n", " `z", "``` ", "x`y", "\n```\n", "\n  ```py\n", "``x``q"]), max_size=20)
)
def test_pieces_make_no_difference(pieces):
    assert state(pieces, asking=True) == state(["".join(pieces)], asking=False) == state(pieces, asking=False)
