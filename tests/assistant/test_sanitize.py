import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.safety.sanitize import Sanitizer, sanitize

PIECES = st.sampled_from(
    ["\x1b", "[", "]", "0;t", "\x07", "\x9b", "\x9d", "\x9c", "\\", "31m", "\r", "\n", "a", "é", "\u202e", "P", "("]
)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"),
        ("a\x9d0;title\x9cb", "ab"),
        ("a\x1bPq payload\x1b\\b", "ab"),
        ("a\x1b_apc\x1b\\b\x1b^pm\x1b\\c\x1bXsos\x1b\\d", "abcd"),
        ("a\x1b(Bb\x1bcc\x1b=d", "abcd"),
        ("over\x08\x08\x7fx\x00\x07y", "overxy"),
        ("50%\r100%\r\ndone\n", "50%\n100%\ndone\n"),
        ("tab\tstays\n", "tab\tstays\n"),
        ("a\u202eb\u200bc\u2060d\ufeff", "a⟨U+202E⟩b⟨U+200B⟩c⟨U+2060⟩d⟨U+FEFF⟩"),
        ("tag\U000e0041", "tag⟨U+E0041⟩"),
        ("half\ud800", "half\ufffd"),
        ("never closed \x1b]0;lost\nnext line", "never closed \nnext line"),
        ("\x1b[31\nm", "\nm"),
        ("⚠️ ünï 日本語", "⚠️ ünï 日本語"),
    ],
)
def test_what_is_left(given: str, shown: str) -> None:
    assert sanitize(given) == shown


@given(st.lists(PIECES, max_size=40))
def test_chunks_do_not_matter_and_nothing_controls(pieces: list[str]) -> None:
    stream = Sanitizer()
    streamed = "".join(map(stream.feed, pieces)) + stream.close()
    assert streamed == sanitize("".join(pieces))
    assert not any(ord(char) < 32 and char not in "\n\t" for char in streamed)
    assert not any("\x7f" <= char <= "\x9f" or char == "\u202e" for char in streamed)


def test_an_endless_sequence_swallows_a_bounded_amount() -> None:
    shown = sanitize("\x1b]0;" + "x" * 10_000)
    assert 5_000 < len(shown) < 6_000
