"""Small mistakes to put into Python code: each operator looks at one node and says what might stand there instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import libcst as cst

Mistake = tuple[cst.CSTNode, cst.CSTNode]
"""A node, and what might stand in its place."""
_SPACE = cst.SimpleWhitespace(" ")
_COMPARISONS: dict[type[cst.BaseCompOp], type[cst.BaseCompOp]] = {
    cst.LessThan: cst.LessThanEqual,
    cst.LessThanEqual: cst.LessThan,
    cst.GreaterThan: cst.GreaterThanEqual,
    cst.GreaterThanEqual: cst.GreaterThan,
    cst.Equal: cst.NotEqual,
    cst.NotEqual: cst.Equal,
    cst.Is: cst.IsNot,
    cst.IsNot: cst.Is,
    cst.In: cst.NotIn,
    cst.NotIn: cst.In,
}
_ARITHMETIC: dict[type[cst.BaseBinaryOp], type[cst.BaseBinaryOp]] = {
    cst.Add: cst.Subtract,
    cst.Subtract: cst.Add,
    cst.Multiply: cst.Add,
    cst.Divide: cst.FloorDivide,
    cst.FloorDivide: cst.Divide,
    cst.Modulo: cst.FloorDivide,
    cst.Power: cst.Multiply,
    cst.LeftShift: cst.RightShift,
    cst.RightShift: cst.LeftShift,
    cst.BitAnd: cst.BitOr,
    cst.BitOr: cst.BitAnd,
    cst.BitXor: cst.BitOr,
}
_AUGMENTED: dict[type[cst.BaseAugOp], type[cst.BaseAugOp]] = {
    cst.AddAssign: cst.SubtractAssign,
    cst.SubtractAssign: cst.AddAssign,
    cst.MultiplyAssign: cst.AddAssign,
    cst.DivideAssign: cst.MultiplyAssign,
    cst.BitOrAssign: cst.BitAndAssign,
    cst.BitAndAssign: cst.BitOrAssign,
}
_SIBLINGS = (
    ("min", "max"),
    ("any", "all"),
    ("lstrip", "rstrip"),
    ("startswith", "endswith"),
    ("find", "rfind"),
    ("index", "rindex"),
    ("split", "rsplit"),
    ("partition", "rpartition"),
    ("lower", "upper"),
    ("ljust", "rjust"),
    ("floor", "ceil"),
    ("keys", "values"),
    ("append", "extend"),
)
_SIBLING = {one: other for pair in _SIBLINGS for one, other in (pair, pair[::-1])}


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a node stands: its function, and for a name that is read the variables that are known there, sorted."""

    function: str
    names: tuple[str, ...] = ()


class Operator(Protocol):
    """One kind of mistake; `name` says which."""

    name: str

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """Nodes, `node` itself or within it, and what could stand there instead, each wrong in one way."""


class Comparison:
    """`<` for `<=`, `==` for `!=`, `in` for `not in`."""

    name = "comparison"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The operator's neighbour."""
        if isinstance(node, cst.BaseCompOp) and type(node) in _COMPARISONS:
            yield node, _COMPARISONS[type(node)](**_spaces(node))


class Arithmetic:
    """`-` for `+`, `//` for `/`, `+=` for `-=`."""

    name = "arithmetic"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The operator's neighbour."""
        if isinstance(node, cst.BaseBinaryOp) and type(node) in _ARITHMETIC:
            yield node, _ARITHMETIC[type(node)](**_spaces(node))
        if isinstance(node, cst.BaseAugOp) and type(node) in _AUGMENTED:
            yield node, _AUGMENTED[type(node)](**_spaces(node))


class Boolean:
    """`or` for `and`."""

    name = "boolean"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The other of the two."""
        match node:
            case cst.And():
                yield node, cst.Or(**_spaces(node))
            case cst.Or():
                yield node, cst.And(**_spaces(node))


class DroppedCondition:
    """`a` or `b` for `a and b`."""

    name = "dropped condition"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """One side alone."""
        if isinstance(node, cst.BooleanOperation):
            for side in (node.left, node.right):
                yield node, _wrapped(side, node)


class OffByOne:
    """`2` or `0` for `1`; decimal numbers only."""

    name = "off by one"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The numbers beside it, none below 0."""
        if isinstance(node, cst.Integer) and node.value.isdecimal():
            value = int(node.value)
            yield node, node.with_changes(value=str(value + 1))
            if value:
                yield node, node.with_changes(value=str(value - 1))


class Truth:
    """`False` for `True`."""

    name = "truth"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The other of the two."""
        if isinstance(node, cst.Name) and node.value in ("True", "False"):
            yield node, node.with_changes(value=str(node.value == "False"))


class NegatedCondition:
    """`if not x` for `if x`, in `if`, `while`, conditional expressions, comprehensions and assertions."""

    name = "negated condition"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The test turned round, unless it is negated already."""
        if isinstance(node, cst.If | cst.While | cst.IfExp | cst.CompIf | cst.Assert) and not _is_not(node.test):
            yield node.test, _negated(node.test)


class DroppedNot:
    """`x` for `not x`, and for `-x`."""

    name = "dropped not"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """What was negated."""
        if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Not | cst.Minus):
            yield node, _wrapped(node.expression, node)


class SwappedArguments:
    """`f(b, a)` for `f(a, b)`."""

    name = "swapped arguments"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """Two neighbours changed, for each pair of plain arguments."""
        if not isinstance(node, cst.Call):
            return
        for at, (one, two) in enumerate(zip(node.args, node.args[1:], strict=False)):
            if _plain(one) and _plain(two) and not one.value.deep_equals(two.value):
                swapped = (one.with_changes(value=two.value), two.with_changes(value=one.value))
                yield node, node.with_changes(args=[*node.args[:at], *swapped, *node.args[at + 2 :]])


class ChangedDefault:
    """Another default: the number beside it, `False` for `True`, a text for an empty one and the other way round."""

    name = "changed default"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The parameter with another default."""
        if not isinstance(node, cst.Param):
            return
        match node.default:
            case cst.Name(value="True" | "False" as word):
                yield node, node.with_changes(default=cst.Name(str(word == "False")))
            case cst.Integer(value=digits) if digits.isdecimal():
                yield node, node.with_changes(default=cst.Integer(str(int(digits) + 1)))
            case cst.SimpleString(value="''" | '""' as empty):
                yield node, node.with_changes(default=cst.SimpleString(f"{empty[0]} {empty[0]}"))
            case cst.SimpleString(value=text) if text[0] in "\"'" and text[0] != text[1]:
                yield node, node.with_changes(default=cst.SimpleString(text[0] * 2))


class RemovedResult:
    """`return None` for `return x`."""

    name = "removed result"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The return without its value."""
        if isinstance(node, cst.Return) and node.value and not _is_name(node.value, "None"):
            yield node, node.with_changes(value=cst.Name("None"), whitespace_after_return=_SPACE)


class RemovedStatement:
    """`pass` for a call, for `x += 1`, for an assignment to an attribute or an item, and for `raise`."""

    name = "removed statement"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """A `pass`."""
        match node:
            case cst.Expr(value=cst.Call()) | cst.AugAssign() | cst.Raise(exc=cst.BaseExpression()):
                yield node, cst.Pass(semicolon=node.semicolon)
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Attribute() | cst.Subscript())]):
                yield node, cst.Pass(semicolon=node.semicolon)


class WrongVariable:
    """Another variable of the same function for this one."""

    name = "wrong variable"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The node with every other name that is known there."""
        if isinstance(node, cst.Name) and node.value in scope.names:
            for name in scope.names:
                if name != node.value:
                    yield node, node.with_changes(value=name)


class SliceBound:
    """A bound of a slice left out, or one added."""

    name = "slice bound"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The slice with another lower bound, and with another upper one."""
        if isinstance(node, cst.Slice):
            yield node, node.with_changes(lower=None if node.lower else cst.Integer("1"))
            last = cst.UnaryOperation(cst.Minus(), cst.Integer("1"))
            yield node, node.with_changes(upper=None if node.upper else last)


class BreakContinue:
    """`continue` for `break`."""

    name = "break or continue"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The other of the two."""
        match node:
            case cst.Break():
                yield node, cst.Continue(semicolon=node.semicolon)
            case cst.Continue():
                yield node, cst.Break(semicolon=node.semicolon)


class SiblingFunction:
    """`max` for `min`, `rstrip` for `lstrip`."""

    name = "sibling function"

    def mistakes(self, node: cst.CSTNode, scope: Scope) -> Iterator[Mistake]:
        """The call of the other function."""
        match node:
            case cst.Call(func=cst.Name(value=name) as called) if name in _SIBLING:
                yield node, node.with_changes(func=called.with_changes(value=_SIBLING[name]))
            case cst.Call(func=cst.Attribute(attr=cst.Name(value=name) as called) as method) if name in _SIBLING:
                other = called.with_changes(value=_SIBLING[name])
                yield node, node.with_changes(func=method.with_changes(attr=other))


OPERATORS: Sequence[Operator] = (
    Comparison(),
    Arithmetic(),
    Boolean(),
    DroppedCondition(),
    OffByOne(),
    Truth(),
    NegatedCondition(),
    DroppedNot(),
    SwappedArguments(),
    ChangedDefault(),
    RemovedResult(),
    RemovedStatement(),
    WrongVariable(),
    SliceBound(),
    BreakContinue(),
    SiblingFunction(),
)
"""Those that the tasks of an evaluation are made with: another one among them would make other tasks of a seed."""


def _spaces(node: cst.CSTNode) -> dict[str, cst.BaseParenthesizableWhitespace]:
    """The white space on both sides of an operator."""
    return {side: getattr(node, side) for side in ("whitespace_before", "whitespace_after")}


def _wrapped(inner: cst.BaseExpression, outer: cst.BaseExpression) -> cst.BaseExpression:
    """`inner` in the parentheses of both."""
    return inner.with_changes(lpar=[*outer.lpar, *inner.lpar], rpar=[*inner.rpar, *outer.rpar])


def _negated(test: cst.BaseExpression) -> cst.BaseExpression:
    loose = isinstance(test, cst.BooleanOperation | cst.IfExp | cst.Lambda | cst.NamedExpr) and not test.lpar
    held = test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()]) if loose else test
    return cst.UnaryOperation(cst.Not(), held)


def _is_not(test: cst.BaseExpression) -> bool:
    return isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not)


def _is_name(node: cst.BaseExpression, name: str) -> bool:
    return isinstance(node, cst.Name) and node.value == name


def _plain(argument: cst.Arg) -> bool:
    return argument.keyword is None and not argument.star
