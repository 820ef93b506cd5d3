"""How questions on code are worded, in English and Chinese: ``{f}`` is what is asked about, the rest as each kind says.

All wordings are ours. `{p}` is a parameter or a name, `{path}` the file, `{call}` a call, `{base}` a class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Both(NamedTuple):
    """The same in English and Chinese."""

    en: str
    zh: str

    def within(self, language: str) -> str:
        """In this language."""
        return self.zh if language == "zh" else self.en


def same(text: str) -> Both:
    """What reads alike in both, as code does."""
    return Both(text, text)


YES, NO = Both("Yes.", "是。"), Both("No.", "不是。")
NONE = Both("None.", "没有。")

EN: Mapping[str, tuple[str, ...]] = {
    "returns": (
        "What type does `{f}` return, by its annotation?",
        "Look at `{f}` in `{path}`: what is its declared return type?",
        "Which type is `{f}` annotated to return?",
        "I call `{f}` and keep the result. What type does the signature promise?",
    ),
    "raises": (
        "Which exceptions does `{f}` raise itself, with its own raise statements?",
        "List the exceptions that `{f}` raises explicitly.",
        "What can I expect `{f}` to raise on its own? Only what stands in a raise statement counts.",
        "Name every exception class after a `raise` in `{f}`.",
    ),
    "catches": (
        "Which exceptions does `{f}` catch?",
        "What do the except clauses of `{f}` name?",
        "List the exceptions that `{f}` handles itself.",
        "In `{f}` of `{path}`: which exceptions are caught?",
    ),
    "default": (
        "What is the default of parameter `{p}` of `{f}`?",
        "If I leave out `{p}` when calling `{f}`, which value is used?",
        "Which default does `{f}` give to `{p}`?",
        "What value does `{p}` have in `{f}` unless somebody passes one?",
    ),
    "optional": (
        "Which parameters of `{f}` may be left out?",
        "Which arguments of `{f}` are optional, that is, have a default?",
        "List the parameters of `{f}` that have defaults.",
        "What can I omit when I call `{f}`?",
    ),
    "required": (
        "Which parameters must every call of `{f}` pass?",
        "Which arguments of `{f}` have no default?",
        "List what `{f}` requires, without what is optional.",
        "What do I have to pass to `{f}` at least?",
    ),
    "keyword_only": (
        "Which parameters of `{f}` can be passed by keyword only?",
        "List the keyword-only parameters of `{f}`.",
        "Which arguments of `{f}` must be named in a call?",
    ),
    "parameter_type": (
        "What type is parameter `{p}` of `{f}` annotated with?",
        "Which type does `{f}` expect for `{p}`?",
        "In the signature of `{f}`, what is the type of `{p}`?",
        "What kind of value should I pass as `{p}` to `{f}`, by its annotation?",
    ),
    "bound": (
        "In the call `{call}`, which value does the parameter `{p}` get?",
        "Somebody calls `{call}`. What is `{p}` inside the function?",
        "What does `{p}` stand for when `{call}` runs?",
        "Bind the arguments of `{call}` to the signature: what is `{p}`?",
    ),
    "generator": (
        "Is `{f}` a generator function?",
        "Does calling `{f}` give a generator?",
        "Does `{f}` yield?",
        "Would I have to iterate over what `{f}` gives, because it is a generator?",
    ),
    "form": (
        "What kind of callable is `{f}`: a plain function or method, a coroutine, a generator, a property …?",
        "How is `{f}` defined: plain, async, generator, property, static or class method, context manager?",
        "Say in a word or two what form of function `{f}` is.",
    ),
    "decorators": (
        "Which decorators does `{f}` have?",
        "How is `{f}` decorated?",
        "List the decorators of `{f}`, from the top.",
    ),
    "calls": (
        "Which functions or classes does `{f}` call by a bare name?",
        "List the plain names that `{f}` calls; leave out methods and attributes.",
        "What does `{f}` call directly, methods not counted?",
    ),
    "callers": (
        "Which of the functions shown call `{f}`?",
        "Who calls `{f}` in this excerpt of `{path}`?",
        "If I change `{f}`, which of the functions shown are affected directly?",
        "Find the callers of `{f}` in the code shown.",
    ),
    "defined_at": (
        "Where is `{f}` defined? Answer as path:line.",
        "In which file and line does the definition of `{f}` begin?",
        "Find the definition of `{f}` in these search results.",
        "I am looking for `{f}`: which place is its definition?",
    ),
    "count_returns": (
        "How many return statements does `{f}` have?",
        "Count the return statements in `{f}` itself, not in functions within it.",
        "In how many places does `{f}` return explicitly?",
    ),
    "count_loops": (
        "How many loops (for and while statements) does `{f}` have?",
        "Count the for and while statements in `{f}`; comprehensions do not count.",
        "How many loop statements are there in `{f}`?",
    ),
    "purpose": (
        "What does `{f}` do? One sentence.",
        "Describe `{f}` in one sentence.",
        "Write a one-line summary for the docstring of `{f}`.",
        "What is `{f}` in `{path}` for?",
    ),
    "assigned": (
        "Which local variables does `{f}` assign?",
        "List the local names that are bound in the body of `{f}`, parameters aside.",
        "Which variables of its own does `{f}` set?",
    ),
    "bases": (
        "What does class `{f}` inherit from?",
        "Which base classes does `{f}` name?",
        "What is the base class of `{f}`?",
        "Look at `{path}`: which class or classes does `{f}` extend?",
    ),
    "methods": (
        "Which public methods does class `{f}` define itself?",
        "List the methods of `{f}` whose names do not begin with an underscore.",
        "What can I call on `{f}`? Only public methods that the class itself defines.",
    ),
    "attributes": (
        "Which attributes does `{f}.__init__` set on the instance?",
        "What attributes has a new `{f}`, by its `__init__`?",
        "List the `self` attributes that the constructor of `{f}` assigns.",
    ),
    "overrides": (
        "Which methods of `{base}` does `{f}` override?",
        "Compare `{f}` with its base class `{base}`: which methods are defined in both?",
        "What does `{f}` define anew that `{base}` has too?",
    ),
    "exports": (
        "What does `{path}` export through `__all__`?",
        "Which names does `from … import *` bring from `{path}`?",
        "List the public names of `{path}`, by its `__all__`.",
    ),
    "defines": (
        "Which public functions and classes does `{path}` define at the top level?",
        "List the top-level functions and classes of `{path}` that have no leading underscore.",
        "What does the module `{path}` offer, by its top-level def and class statements?",
    ),
    "import_from": (
        "From which module does `{p}` come in `{path}`?",
        "Where is `{p}` imported from in `{path}`?",
        "What does the name `{p}` in `{path}` stem from? Give the module.",
    ),
    "constant": (
        "What is the value of `{p}` in `{path}`?",
        "Which value is the constant `{p}` set to?",
        "To what does `{path}` set `{p}`?",
    ),
}

ZH: Mapping[str, tuple[str, ...]] = {
    "returns": (
        "按照注解，`{f}` 返回什么类型？",
        "看一下 `{path}` 里的 `{f}`：它声明的返回类型是什么？",
        "`{f}` 的返回值类型注解写的是什么？",
    ),
    "raises": (
        "`{f}` 自己会用 raise 抛出哪些异常？",
        "列出 `{f}` 中显式抛出的异常。",
        "`{f}` 的 raise 语句里出现了哪些异常类？",
    ),
    "catches": (
        "`{f}` 捕获哪些异常？",
        "`{f}` 的 except 子句写了哪些异常？",
        "列出 `{path}` 中 `{f}` 自己处理的异常。",
    ),
    "default": (
        "`{f}` 的参数 `{p}` 默认值是什么？",
        "调用 `{f}` 时不传 `{p}`，会用哪个值？",
        "`{f}` 给 `{p}` 设的默认值是多少？",
    ),
    "optional": (
        "`{f}` 的哪些参数可以省略？",
        "列出 `{f}` 中带默认值的参数。",
        "调用 `{f}` 时哪些参数是可选的？",
    ),
    "required": (
        "调用 `{f}` 时必须传哪些参数？",
        "`{f}` 的哪些参数没有默认值？",
        "列出 `{f}` 的必填参数。",
    ),
    "keyword_only": (
        "`{f}` 的哪些参数只能用关键字传递？",
        "列出 `{f}` 的仅限关键字参数。",
        "调用 `{f}` 时哪些参数必须写出名字？",
    ),
    "parameter_type": (
        "`{f}` 的参数 `{p}` 注解成什么类型？",
        "按签名，`{f}` 的 `{p}` 应当是什么类型？",
        "给 `{f}` 传 `{p}` 时，注解要求什么类型的值？",
    ),
    "bound": (
        "在调用 `{call}` 中，参数 `{p}` 得到什么值？",
        "有人这样调用：`{call}`。函数内部的 `{p}` 是什么？",
        "把 `{call}` 的实参对应到签名上：`{p}` 是什么？",
    ),
    "generator": (
        "`{f}` 是生成器函数吗？",
        "调用 `{f}` 会得到一个生成器，是不是？",
        "`{f}` 里用了 yield，是这样吗？",
    ),
    "form": (
        "`{f}` 是哪种可调用对象：普通函数或方法、协程、生成器、属性……?",
        "`{f}` 是怎么定义的：普通、异步、生成器、属性、静态方法、类方法还是上下文管理器？",
        "用一两个词说明 `{f}` 属于哪种函数。",
    ),
    "decorators": (
        "`{f}` 有哪些装饰器？",
        "`{f}` 是用什么装饰的？",
        "从上到下列出 `{f}` 的装饰器。",
    ),
    "calls": (
        "`{f}` 直接用名字调用了哪些函数或类？",
        "列出 `{f}` 直接调用的名字，不算方法和属性。",
        "除方法以外，`{f}` 直接调用了什么？",
    ),
    "callers": (
        "给出的函数中，哪些调用了 `{f}`？",
        "在 `{path}` 的这段代码里，谁调用 `{f}`？",
        "如果我改动 `{f}`，给出的函数里哪些会直接受影响？",
    ),
    "defined_at": (
        "`{f}` 定义在哪里？用 路径:行号 回答。",
        "`{f}` 的定义从哪个文件的哪一行开始？",
        "在这些搜索结果中找出 `{f}` 的定义。",
    ),
    "count_returns": (
        "`{f}` 有几个 return 语句？",
        "数一数 `{f}` 本身的 return 语句，内部函数的不算。",
        "`{f}` 在几处显式返回？",
    ),
    "count_loops": (
        "`{f}` 有几个循环(for 和 while 语句)?",
        "数一数 `{f}` 中的 for 和 while 语句，推导式不算。",
        "`{f}` 里一共有多少条循环语句？",
    ),
    "purpose": ("`{f}` 是做什么的？用一句话说明。", "用一句话描述 `{f}`。", "为 `{f}` 写一行文档字符串摘要。"),
    "assigned": (
        "`{f}` 给哪些局部变量赋值？",
        "列出 `{f}` 函数体中绑定的局部名字，参数除外。",
        "`{f}` 自己设置了哪些变量？",
    ),
    "bases": (
        "类 `{f}` 继承自什么？",
        "`{f}` 写了哪些基类？",
        "看 `{path}`：`{f}` 扩展了哪个或哪些类？",
    ),
    "methods": (
        "类 `{f}` 自己定义了哪些公开方法？",
        "列出 `{f}` 中名字不以下划线开头的方法。",
        "`{f}` 本身提供哪些可以调用的公开方法？",
    ),
    "attributes": (
        "`{f}.__init__` 在实例上设置了哪些属性？",
        "按照 `__init__`，新建的 `{f}` 有哪些属性？",
        "列出 `{f}` 的构造函数赋值的 `self` 属性。",
    ),
    "overrides": (
        "`{f}` 覆盖了 `{base}` 的哪些方法？",
        "对比 `{f}` 和它的基类 `{base}`：哪些方法两边都有定义？",
        "`{base}` 已有的方法中，`{f}` 重新定义了哪些？",
    ),
    "exports": (
        "`{path}` 通过 `__all__` 导出什么？",
        "`from … import *` 会从 `{path}` 带来哪些名字？",
        "按照 `__all__`，列出 `{path}` 的公开名字。",
    ),
    "defines": (
        "`{path}` 在顶层定义了哪些公开的函数和类？",
        "列出 `{path}` 顶层不带前导下划线的函数和类。",
        "按顶层的 def 和 class 语句，模块 `{path}` 提供什么？",
    ),
    "import_from": (
        "`{path}` 里的 `{p}` 来自哪个模块？",
        "在 `{path}` 中，`{p}` 是从哪里导入的？",
        "`{path}` 中 `{p}` 这个名字出自哪个模块？",
    ),
    "constant": (
        "`{path}` 里 `{p}` 的值是什么？",
        "常量 `{p}` 被设成了什么值？",
        "`{path}` 把 `{p}` 设为什么？",
    ),
}

PARAMETERS_BY_POSITION = Both("The parameters by position: {all}.", "按位置的参数：{all}。")
"""The first step of binding a call."""
FORMS: Mapping[str, Both] = {
    "property": Both("A property.", "属性(property)。"),
    "static": Both("A static method.", "静态方法。"),
    "class": Both("A class method.", "类方法。"),
    "context": Both("A context manager, made from a generator.", "由生成器写成的上下文管理器。"),
    "async context": Both("An asynchronous context manager.", "异步上下文管理器。"),
    "async generator": Both("An asynchronous generator.", "异步生成器。"),
    "generator": Both("A generator.", "生成器。"),
    "coroutine": Both("A coroutine.", "协程。"),
    "method": Both("A plain method.", "普通方法。"),
    "function": Both("A plain function.", "普通函数。"),
}
