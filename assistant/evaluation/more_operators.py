"""Mistakes that only training data is made with: the tasks of an evaluation are to stay what they are for a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst

from assistant.evaluation.operators import OPERATORS, Mistake, Operator, Scope, SiblingFunction

_SPACE = cst.SimpleWhitespace(" ")
_OTHER_EXCEPTION = {
    "ValueError": "TypeError",
    "TypeError": "ValueError",
    "KeyError": "IndexError",
    "IndexError": "KeyError",
    "AttributeError": "KeyError",
    "StopIteration": "ValueError",
    "RuntimeError": "ValueError",
    "NotImplementedError": "RuntimeError",
    "ZeroDivisionError": "ValueError",
    "OverflowError": "ValueError",
    "OSError": "ValueError",
    "FileNotFoundError": "PermissionError",
    "UnicodeDecodeError": "UnicodeEncodeError",
    "ImportError": "AttributeError",
}


class OtherException:
    """`raise TypeError` for `raise ValueError`, and `except KeyError` for `except IndexError`."""

    name = "other exception"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The name of an exception that is easily taken for it."""
        match node:
            case cst.Raise(exc=cst.Name() as raised) | cst.Raise(exc=cst.Call(func=cst.Name() as raised)):
                yield from _another(raised)
            case cst.ExceptHandler(type=cst.Name() as caught):
                yield from _another(caught)
            case cst.ExceptHandler(type=cst.Tuple(elements=elements)):
                for element in elements:
                    if isinstance(element.value, cst.Name):
                        yield from _another(element.value)


class RepeatedStatement:
    """A call or `x += 1` twice."""

    name = "repeated statement"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The statement and the same again behind it."""
        match node:
            case cst.SimpleStatementLine(body=[cst.Expr(value=cst.Call()) | cst.AugAssign() as only]):
                between = cst.Semicolon(whitespace_after=_SPACE)
                yield node, node.with_changes(body=[only.with_changes(semicolon=between), only])


class DroppedArgument:
    """`f(a)` for `f(a, b)`, and for `f(a, b=c)`."""

    name = "dropped argument"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The call without its last argument, or without one that is named."""
        if not isinstance(node, cst.Call):
            return
        for at, argument in enumerate(node.args):
            last = at == len(node.args) - 1
            if not argument.star and (argument.keyword or (last and at)):
                left = [*node.args[:at], *node.args[at + 1 :]]
                yield node, node.with_changes(args=_ended(left) if last else left)


class OtherSibling(SiblingFunction):
    """As `SiblingFunction`, but not `rsplit` for `split` without a limit, which gives the same."""

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The call of the other function."""
        match node:
            case cst.Call(func=cst.Attribute(attr=cst.Name("split" | "rsplit")), args=[] | [_]):
                return
        yield from super().mistakes(node, scope)


_KEPT = tuple(operator for operator in OPERATORS if not isinstance(operator, SiblingFunction))
ALL_OPERATORS: Sequence[Operator] = (
    *_KEPT,
    OtherSibling(),
    OtherException(),
    RepeatedStatement(),
    DroppedArgument(),
)
"""Those that training data is made with."""


def _another(exception: cst.Name) -> Iterator[Mistake]:
    if exception.value in _OTHER_EXCEPTION:
        yield exception, exception.with_changes(value=_OTHER_EXCEPTION[exception.value])


def _ended(arguments: Sequence[cst.Arg]) -> list[cst.Arg]:
    """Arguments without a comma behind the last."""
    return [*arguments[:-1], *(argument.with_changes(comma=cst.MaybeSentinel.DEFAULT) for argument in arguments[-1:])]
