"""Parsers of tree-sitter."""

import threading

from assistant.workspace.languages import parser


def test_a_thread_that_is_parsing_is_not_disturbed_by_another() -> None:
    """A parse calls back into Python, where threads change: a parser that they shared ended the interpreter."""
    others: list[object] = []

    def read(offset: int, _point: object) -> bytes:
        thread = threading.Thread(target=lambda: others.append(parser("python")))
        thread.start()
        thread.join()
        return b"x = (1)\n"[offset:]

    own = parser("python")
    tree = own.parse(read)
    assert not tree.root_node.has_error
    assert others
    assert own not in others
    assert parser("python") is own
