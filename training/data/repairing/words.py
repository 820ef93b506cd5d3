"""What is said of a wrong line: hints that do not give the fix away, and the steps of a thought; tables and no more.

`{bad}` and `{good}` are what differs between the line as it is and as it must be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Both = Mapping[str, Sequence[str]]


class Kind(NamedTuple):
    """A kind of mistake: the part of a line that is wrong, as a hint names it, and sentences that say what is wrong."""

    part: Mapping[str, str]
    faults: Both


ISSUES: Both = {
    "en": (
        "There is a mistake in `{f}`.",
        "Something is wrong in `{f}`; one line needs a correction.",
        "Please find the bug in `{f}`.",
        "A slip crept into `{f}`. Which line is it?",
        "`{f}` has a bug.",
    ),
    "zh": (
        "`{f}` 里有一个错误。",
        "`{f}` 有问题，有一行需要改正。",
        "请找出 `{f}` 中的 bug。",
        "`{f}` 中有一行写错了。",
    ),
}
HINTS: Both = {
    "en": (
        "There is a mistake in `{f}`; look at {part}.",
        "`{f}` is wrong, and it has to do with {part}.",
        "I suspect {part} in `{f}`.",
        "In `{f}`, {part} cannot be right.",
    ),
    "zh": ("`{f}` 有错，请看{part}。", "`{f}` 不对，问题出在{part}。", "我怀疑 `{f}` 中的{part}。"),
}
READS: Both = {
    "en": (
        "The code is {f}, lines {first} to {last}.",
        "I go through {f} line by line.",
        "Lines {first} to {last} show {f}; one of them is wrong.",
        "One line of {f} is to be found and corrected.",
    ),
    "zh": ("这是{f}，第 {first} 到 {last} 行。", "逐行检查{f}。", "第 {first} 到 {last} 行中有一行写错了。"),
}
MEANT: Both = {
    "en": (
        "Its docstring says: {summary}",
        "What it is for: {summary}",
        "By its own description: {summary}",
    ),
    "zh": ("文档字符串写着：{summary}", "它的用途是：{summary}"),
}
FINE: Both = {
    "en": (
        "Line {row}, `{text}`, is fine.",
        "Line {row} can stay: `{text}`.",
        "`{text}` in line {row} is as it should be.",
        "Nothing is wrong with line {row}, `{text}`.",
    ),
    "zh": ("第 {row} 行 `{text}` 没有问题。", "第 {row} 行可以不变：`{text}`。"),
}
STANDS: Both = {
    "en": ("Line {row} reads `{text}`.", "Then line {row}: `{text}`.", "Now line {row}, `{text}`."),
    "zh": ("第 {row} 行是 `{text}`。", "再看第 {row} 行：`{text}`。"),
}
FAILS: Both = {
    "en": ("The test's output says: {text}", "What the test reports: {text}", "From the failing test: {text}"),
    "zh": ("测试的输出是：{text}", "失败的测试报告：{text}"),
}
ENDS: Both = {
    "en": (
        "So line {row} must read `{text}`.",
        "Corrected, line {row} is `{text}`.",
        "Line {row} therefore becomes `{text}`.",
        "The line I write for {row} is `{text}`.",
    ),
    "zh": ("所以第 {row} 行应为 `{text}`。", "改正后第 {row} 行是 `{text}`。"),
}
CHANGED: Both = {
    "en": (
        "`{bad}` is wrong here; it must be `{good}`.",
        "What does not belong there is `{bad}`: `{good}` does.",
        "In place of `{bad}` there must stand `{good}`.",
    ),
    "zh": ("这里的 `{bad}` 不对，应该是 `{good}`。", "不该是 `{bad}`，而该是 `{good}`。"),
}
MISSING: Both = {
    "en": ("Something is missing there: `{good}`.", "The line lacks `{good}`.", "It leaves out `{good}`."),
    "zh": ("这里缺少 `{good}`。", "漏掉了 `{good}`。"),
}
EXTRA: Both = {
    "en": ("There is too much in it: `{bad}`.", "`{bad}` does not belong there.", "It must go without `{bad}`."),
    "zh": ("这里多了 `{bad}`。", "`{bad}` 不该出现。"),
}
KINDS: Mapping[str, Kind] = {
    "comparison": Kind(
        {"en": "a comparison", "zh": "一处比较"},
        {
            "en": (
                "It compares with `{bad}`, and the comparison that is meant is `{good}`.",
                "The comparison is the wrong one: `{bad}` where `{good}` is needed.",
                "`{bad}` lets the wrong cases through; `{good}` is right.",
            ),
            "zh": ("这里用 `{bad}` 比较，应该用 `{good}`。", "比较写错了：要用 `{good}` 而不是 `{bad}`。"),
        },
    ),
    "arithmetic": Kind(
        {"en": "a calculation", "zh": "一处计算"},
        {
            "en": (
                "It calculates with `{bad}`, but the operation that is needed is `{good}`.",
                "The operator is wrong: `{good}`, not `{bad}`.",
                "`{bad}` gives another result than is wanted; `{good}` is the operation meant.",
            ),
            "zh": ("这里用 `{bad}` 计算，应该用 `{good}`。", "运算符不对：应为 `{good}`，不是 `{bad}`。"),
        },
    ),
    "boolean": Kind(
        {"en": "how conditions are joined", "zh": "条件的连接方式"},
        {
            "en": (
                "The conditions are joined by `{bad}`, and must be joined by `{good}`.",
                "`{bad}` joins them the wrong way; `{good}` is meant.",
                "With `{bad}` the condition says something else than with `{good}`, which is right.",
            ),
            "zh": ("条件用 `{bad}` 连接，应该用 `{good}`。", "不该是 `{bad}`，应为 `{good}`。"),
        },
    ),
    "dropped condition": Kind(
        {"en": "a condition", "zh": "一个条件"},
        {
            "en": (
                "A part of the condition is gone; it takes both sides.",
                "The condition checks too little: one side of it is missing.",
                "Only one of two parts of the expression is left.",
            ),
            "zh": ("条件少了一半。", "表达式只剩下一边，另一边不见了。"),
        },
    ),
    "off by one": Kind(
        {"en": "a number", "zh": "一个数字"},
        {
            "en": (
                "The number is off by one: `{bad}` for `{good}`.",
                "`{bad}` is one beside the number that is needed, `{good}`.",
                "It counts with `{bad}`, and the right number is `{good}`.",
            ),
            "zh": ("数字差了一：`{bad}` 应为 `{good}`。", "这里应该是 `{good}`，不是 `{bad}`。"),
        },
    ),
    "truth": Kind(
        {"en": "a constant that is true or false", "zh": "一个真假常量"},
        {
            "en": (
                "The constant is the wrong way round: it must be `{good}`.",
                "It says `{bad}` where `{good}` is meant.",
                "`{bad}` turns the meaning round; `{good}` belongs there.",
            ),
            "zh": ("真假写反了，应为 `{good}`。", "这里写的是 `{bad}`，应该是 `{good}`。"),
        },
    ),
    "negated condition": Kind(
        {"en": "a condition", "zh": "一个条件"},
        {
            "en": (
                "The condition is turned round: the `not` does not belong there.",
                "It asks for the opposite; without `not` it is right.",
                "The test is negated and must not be.",
            ),
            "zh": ("条件写反了，不该有 `not`。", "这里取了反，去掉 `not` 才对。"),
        },
    ),
    "dropped not": Kind(
        {"en": "a sign or a negation", "zh": "符号或否定"},
        {
            "en": (
                "A negation is missing there.",
                "It takes the value as it is, and must take its opposite.",
                "The sign or the `not` in front is gone.",
            ),
            "zh": ("这里少了一个否定。", "前面的负号或 `not` 不见了。"),
        },
    ),
    "swapped arguments": Kind(
        {"en": "the order of arguments", "zh": "参数的顺序"},
        {
            "en": (
                "Two arguments stand in the wrong order.",
                "The arguments are swapped.",
                "What is handed over is right, but not in this order.",
            ),
            "zh": ("两个参数的顺序反了。", "参数对调了。"),
        },
    ),
    "changed default": Kind(
        {"en": "a default", "zh": "一个默认值"},
        {
            "en": (
                "The default is `{bad}`, and must be `{good}`.",
                "A parameter has the wrong default: `{good}` is meant, not `{bad}`.",
                "Whoever leaves the argument out gets `{bad}` in place of `{good}`.",
            ),
            "zh": ("默认值是 `{bad}`，应为 `{good}`。", "参数的默认值不对：应该是 `{good}`。"),
        },
    ),
    "removed result": Kind(
        {"en": "what is returned", "zh": "返回值"},
        {
            "en": (
                "It returns None and drops the result, `{good}`.",
                "The value `{good}` has to be returned, not `{bad}`.",
                "What was worked out is not handed back: `{good}` is missing.",
            ),
            "zh": ("这里返回了 None，应返回 `{good}`。", "结果 `{good}` 没有被返回。"),
        },
    ),
    "removed statement": Kind(
        {"en": "a step that is left out", "zh": "漏掉的一步"},
        {
            "en": (
                "A `pass` stands there and does nothing; the step `{good}` is missing.",
                "Nothing is done there, where `{good}` has to be done.",
                "The statement `{good}` was left out.",
            ),
            "zh": ("这里只有 `pass`，缺少 `{good}`。", "本该执行 `{good}`，却什么也没做。"),
        },
    ),
    "wrong variable": Kind(
        {"en": "a variable", "zh": "一个变量"},
        {
            "en": (
                "It uses `{bad}`, but the variable that is meant is `{good}`.",
                "The name is wrong: `{good}`, not `{bad}`.",
                "`{bad}` exists here too, yet `{good}` is the one that is needed.",
            ),
            "zh": ("这里用了 `{bad}`，应该用 `{good}`。", "变量名不对：应为 `{good}`。"),
        },
    ),
    "slice bound": Kind(
        {"en": "a slice", "zh": "一处切片"},
        {
            "en": (
                "The slice has the wrong bound.",
                "The slice takes another part than is meant.",
                "A bound of the slice is not right.",
            ),
            "zh": ("切片的边界不对。", "切片取的部分不对。"),
        },
    ),
    "break or continue": Kind(
        {"en": "how a loop goes on", "zh": "循环的走向"},
        {
            "en": (
                "The loop must not `{bad}` there, but `{good}`.",
                "`{bad}` takes the loop the wrong way; `{good}` is needed.",
                "There the loop has to `{good}`, and it says `{bad}`.",
            ),
            "zh": ("循环这里应该 `{good}`，而不是 `{bad}`。", "`{bad}` 写错了，应为 `{good}`。"),
        },
    ),
    "sibling function": Kind(
        {"en": "a function that is called", "zh": "被调用的函数"},
        {
            "en": (
                "It calls `{bad}`, the wrong one of two that are alike: `{good}` is meant.",
                "`{bad}` does nearly the same as `{good}`, which is needed here.",
                "The call must be of `{good}`, not of `{bad}`.",
            ),
            "zh": ("调用了 `{bad}`，应该调用 `{good}`。", "函数用错了：应为 `{good}`，不是 `{bad}`。"),
        },
    ),
    "dropped argument": Kind(
        {"en": "the arguments of a call", "zh": "调用的参数"},
        {
            "en": (
                "An argument of the call is missing.",
                "The call leaves an argument out.",
                "Too little is handed over there.",
            ),
            "zh": ("调用少了一个参数。", "漏传了一个参数。"),
        },
    ),
    "other exception": Kind(
        {"en": "an exception", "zh": "一个异常"},
        {
            "en": (
                "The exception is `{bad}`, and must be `{good}`.",
                "It names the wrong exception: `{good}` is meant.",
                "`{bad}` is not what is raised or caught here; `{good}` is.",
            ),
            "zh": ("异常类型不对：应为 `{good}`。", "这里写的是 `{bad}`，应该是 `{good}`。"),
        },
    ),
    "repeated statement": Kind(
        {"en": "something that is done twice", "zh": "重复的一步"},
        {
            "en": (
                "The same is done twice there; once is right.",
                "The statement stands there a second time, and must not.",
                "What it does is right, but not twice.",
            ),
            "zh": ("同一步做了两次，一次就够。", "语句重复了。"),
        },
    ),
}
