"""Questions on a module: what it exports, defines and imports, its constants, and where in it something is defined."""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from training.data.questioning.asked import LONGEST, MOST, Asked, code, listed, quoted, signature, so, steps
from training.data.questioning.functions import short
from training.data.questioning.words import Both, same
from training.data.repositories.modules import Callable_, Definition, Module, functions

_FEW = 5
"""Constants, imported names and definitions of one module that are asked for; our choice."""
_AROUND = 8
"""Lines shown above and below a constant; our choice."""
_HITS = (2, 15)
"""How many lines a search shows, at least and at most; our choice."""
_CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]+")
_WORD = re.compile(r"[A-Za-z_]\w+")


def about_module(module: Module, chance: random.Random) -> Iterator[Asked]:
    """Every question on it."""
    for kind in (_exports, _defines, _imported, _constants, _defined_at):
        yield from kind(module, chance)


def _asked(kind: str, module: Module, context: str, answer: Both, name: str = "", thought: Both | None = None) -> Asked:
    return Asked(kind, module.path, name or module.path, context, answer, thought or Both("", ""), {"p": name})


def _bound(module: Module) -> Counter[str]:
    """How often each name is bound at the top of a module, anywhere but in functions and classes."""
    names: Counter[str] = Counter()
    for node in ast.walk(module.tree):
        match node:
            case ast.Name(ctx=ast.Store() | ast.Del()):
                names[node.id] += 1
            case ast.Import() | ast.ImportFrom():
                names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names[node.name] += 1
            case ast.Global():
                names.update(node.names)
            case _:
                pass
    return names


def _exports(module: Module, _: random.Random) -> Iterator[Asked]:
    nodes = [node for node in module.tree.body if isinstance(node, ast.Assign) and _names(node) == ["__all__"]]
    if len(nodes) != 1 or _bound(module)["__all__"] != 1 or "__all__." in module.text or "__all__ +=" in module.text:
        return
    node = nodes[0]
    items = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else []
    names = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    first, last = max(1, node.lineno - _AROUND), (node.end_lineno or node.lineno) + 2
    if 0 < len(names) == len(items) <= MOST * 2 and last - first < LONGEST:
        yield _asked("exports", module, module.shown(first, last), listed(names))


def _defines(module: Module, _: random.Random) -> Iterator[Asked]:
    body = module.tree.body
    plain = (ast.Expr, ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
    context = "\n\n".join(_outline(module)) if len(module.lines) > LONGEST else module.text.strip("\n")
    if context.count("\n") >= LONGEST or not all(isinstance(node, (*plain, ast.AsyncFunctionDef)) for node in body):
        return
    names = [node.name for node in body if isinstance(node, Callable_ | ast.ClassDef)]
    public = [name for name in names if not name.startswith("_")]
    if len(names) == len({*names}) and 1 < len(public) <= MOST:
        yield _asked("defines", module, context, listed(public))


def _outline(module: Module) -> Iterator[str]:
    for node in module.tree.body:
        if isinstance(node, Callable_ | ast.ClassDef):
            yield signature(Definition(module, node, node.name))


def _imported(module: Module, chance: random.Random) -> Iterator[Asked]:
    nodes = [node for node in module.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    context = "\n".join(module.shown(node.lineno, node.end_lineno or node.lineno) for node in nodes)
    if not nodes or context.count("\n") >= LONGEST:
        return
    bound = _bound(module)
    found = [(name, origin) for node in nodes for name, origin in _origins(node) if bound[name] == 1]
    for name, origin in chance.sample(found, min(len(found), _FEW)):
        yield _asked("import_from", module, context, same(code(origin)), name)


def _origins(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom) and alias.name != "*":
            yield alias.asname or alias.name, "." * node.level + (node.module or "")
        elif isinstance(node, ast.Import) and alias.asname and alias.asname != alias.name:
            yield alias.asname, alias.name


def _constants(module: Module, chance: random.Random) -> Iterator[Asked]:
    bound = _bound(module)
    found = [
        (names[0], node, text)
        for node in module.tree.body
        if isinstance(node, ast.Assign) and len(names := _names(node)) == 1
        if _CONSTANT.fullmatch(names[0]) and bound[names[0]] == 1 and (text := short(module, node.value))
    ]
    for name, node, text in chance.sample(found, min(len(found), _FEW)):
        context = module.shown(max(1, node.lineno - _AROUND), node.lineno + _AROUND)
        yield _asked("constant", module, context, same(code(text)), name)


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _defined_at(module: Module, chance: random.Random) -> Iterator[Asked]:
    """What a search for a name shows, and which of the lines is the definition."""
    defined = Counter(node.name for node in ast.walk(module.tree) if isinstance(node, Callable_ | ast.ClassDef))
    once = [each for each in functions(module) if defined[each.node.name] == 1 and not each.node.name.startswith("__")]
    for each in chance.sample(once, min(len(once), _FEW)):
        name = each.node.name
        hits = [number for number, line in enumerate(module.lines, 1) if name in line and name in _WORD.findall(line)]
        if _HITS[0] <= len(hits) <= _HITS[1]:
            yield _search(module, each, hits)


def _search(module: Module, definition: Definition, hits: Sequence[int]) -> Asked:
    at, name = definition.node.lineno, definition.node.name
    context = "\n".join(f"{module.path}:{number}: {module.lines[number - 1].strip()}" for number in hits)
    answer = same(code(f"{module.path}:{at}"))
    row = quoted(module.lines[at - 1])
    part = Both(
        f"Only line {at} defines it, {row}; the others mention it.",
        f"只有第 {at} 行是定义：{row}；其余几行只是提到它。",
    )
    return _asked("defined_at", module, context, answer, name, steps([part], so(answer)))
