"""How reviews are asked for and answered, in English and Chinese; all wordings are ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ASKED: Mapping[str, Sequence[str]] = {
    "en": (
        "Review this diff. Name the faulty line and say why it is wrong, or say that there is no fault.",
        "Does this change to `{path}` introduce a bug? If so, where?",
        "Please look over this diff before I merge it. Is anything wrong with it?",
        "Code review: point out the mistake in this change, if there is one.",
        "A colleague sent this patch for `{f}`. Is it safe to merge?",
        "Check this diff for mistakes. Answer briefly: the line and the reason, or that it is fine.",
    ),
    "zh": (
        "请审查这个 diff。指出有错的那一行并说明原因；如果没有错误，就说没有。",
        "对 `{path}` 的这个改动引入了缺陷吗？如果有，在哪里？",
        "合并之前请看一下这个 diff，有没有问题？",
        "代码审查：如果这个改动有错，请指出来。",
        "同事发来了 `{f}` 的补丁，可以放心合并吗？",
    ),
}
FAULTY: Mapping[str, Sequence[str]] = {
    "en": (
        "There is a fault in `{path}`, line {line}: {said} {why}",
        "Line {line} of `{path}` is wrong: {said} {why}",
        "Do not merge this: `{path}`, line {line}. {said} {why}",
    ),
    "zh": (
        "`{path}` 第 {line} 行有错：{said}{why}",
        "有问题的是 `{path}` 第 {line} 行：{said}{why}",
        "先不要合并：`{path}` 第 {line} 行。{said}{why}",
    ),
}
CLEAN: Mapping[str, Sequence[str]] = {
    "en": (
        "No fault found. {mended}",
        "This change is fine. {mended}",
        "Nothing is wrong with this diff. {mended}",
    ),
    "zh": ("没有发现错误。{mended}", "这个改动没有问题。{mended}", "这个 diff 没有错。{mended}"),
}
SAID: Mapping[str, Mapping[str, str]] = {
    "en": {
        "changed": "{old} became {new}.",
        "removed": "{old} was taken out.",
        "added": "{new} was put in.",
    },
    "zh": {"changed": "{old} 变成了 {new}。", "removed": "{old} 被删掉了。", "added": "加进了 {new}。"},
}
MENDED: Mapping[str, Mapping[str, str]] = {
    "en": {
        "changed": "It puts right {old}, which now reads {new}.",
        "removed": "It takes out {old}, which was wrong there.",
        "added": "It puts in {new}, which was missing.",
    },
    "zh": {
        "changed": "它纠正了 {old}，现在是 {new}。",
        "removed": "它去掉了本不该有的 {old}。",
        "added": "它补上了缺少的 {new}。",
    },
}
WHY: Mapping[str, tuple[str, str]] = {
    "comparison": ("This comparison decides wrongly, at least at its boundary.", "这个比较会判断错，至少在边界上。"),
    "arithmetic": ("It computes the wrong value.", "这样算出来的值不对。"),
    "boolean": ("The two conditions are joined the wrong way.", "两个条件的连接方式错了。"),
    "dropped condition": ("A part of the condition is missing.", "条件少了一部分。"),
    "off by one": ("The number is off by one.", "这个数差了一。"),
    "truth": ("The truth value is the wrong way round.", "真假值反了。"),
    "negated condition": ("The condition is the opposite of what is meant.", "条件与本意相反。"),
    "dropped not": ("A `not` or a minus sign is gone, so the value is the opposite.", "少了 `not` 或负号，值就反了。"),
    "swapped arguments": ("The arguments stand in the wrong order.", "实参的顺序错了。"),
    "changed default": ("The default is not the value that is meant.", "默认值不是该用的那个。"),
    "removed result": ("The result does not reach the caller.", "结果到不了调用者。"),
    "removed statement": ("Something that has to be done is left out.", "少做了必须做的一步。"),
    "wrong variable": ("This is not the variable that is meant.", "这里用的不是该用的变量。"),
    "slice bound": ("The slice takes the wrong elements.", "切片取到的元素不对。"),
    "break or continue": (
        "The loop goes on, or ends, where it should not.",
        "循环在不该继续或结束的地方继续或结束了。",
    ),
    "other exception": (
        "Another exception is raised, or caught, than the one that is meant.",
        "异常不对。",
    ),
    "repeated statement": ("Something is done twice.", "同一步做了两次。"),
    "dropped argument": ("An argument is missing from the call.", "调用少了一个实参。"),
    "sibling function": ("A similar function is called that does something else.", "调用了名字相近、作用不同的函数。"),
}
"""What each kind of mistake does, true of every mistake of that kind."""
SURE = frozenset(
    {"comparison", "arithmetic", "boolean", "off by one", "negated condition", "dropped not"}
    | {
        "changed default",
        "removed result",
        "wrong variable",
        "sibling function",
        "break or continue",
        "other exception",
    }
)
"""Kinds that nearly always change what a program does, so that a diff is faulty by the way it was made."""
STEPS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "en": {
        "look": (
            "The diff touches {f}; what stands around it stays as it is.",
            "Only {f} changes here.",
            "I compare the two sides of the change in {f}.",
        ),
        "sides": ("Before: {old}. After: {new}.", "The old side has {old}, the new one {new}."),
        "faulty": (
            "{why} The old line was right, so this is a fault.",
            "{why} What stood there before fits the code around it.",
        ),
        "clean": (
            "With the old line: {why} The new line fits the code around it, so the change mends something.",
            "The mistake was on the old side. {why} The new side has it right.",
        ),
    },
    "zh": {
        "look": ("这个 diff 只改了 {f}，周围不变。", "我比较 {f} 中改动的两边。"),
        "sides": ("改之前：{old}。改之后：{new}。", "旧的一边是 {old}，新的一边是 {new}。"),
        "faulty": ("{why}原来那行是对的，所以这是一个错误。", "{why}原来的写法才与周围的代码相符。"),
        "clean": (
            "旧的那行有问题：{why}新的写法与周围的代码相符，改动是对的。",
            "错误在旧的一边：{why}新的一边改对了。",
        ),
    },
}
NOTHING: Mapping[str, str] = {"en": "nothing", "zh": "什么也没有"}
MEANT: Mapping[str, str] = {
    "en": "With it the code no longer does what it is for.",
    "zh": "这样代码就不再做它该做的事了。",
}
"""Why, where the kind of mistake is not known."""
