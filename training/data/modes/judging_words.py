"""The sentences that a judge's text is made of, in English and Chinese: tables and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.format import Mode

ON, OFF = Mode.ON, Mode.OFF
TYPES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "en": {
        "repair": ("This is a bug to repair.", "Something in the code is wrong.", "A fault has to be mended."),
        "trace": ("A call has to be followed by hand.", "The result of running code is asked for."),
        "question": ("This is a question on code.", "Something about the code shown is asked."),
        "review": ("A change has to be reviewed.", "A diff is to be judged."),
        "write": ("A function has to be written.", "Code is to be written from its description."),
        "lookup": ("Something has to be looked up.", "A place in the repository is asked for."),
        "edit": ("A small change is asked for.", "The user wants an edit."),
        "agent": ("This is one step of a longer job.", "The work goes on from the last result."),
    },
    "zh": {
        "repair": ("这里有一个错误要修复。", "代码中有问题需要改正。"),
        "trace": ("需要手动推演一次调用。", "要求给出代码运行的结果。"),
        "question": ("这是一个关于代码的问题。", "用户询问所示代码的内容。"),
        "review": ("需要审查一处改动。", "要评判一个补丁。"),
        "write": ("需要编写一个函数。", "要根据说明写出代码。"),
        "lookup": ("需要查找一处内容。", "用户询问仓库中的位置。"),
        "edit": ("用户要求一处小改动。", "需要做一次编辑。"),
        "agent": ("这是较长任务中的一步。", "根据上一步的结果继续。"),
    },
}
UNKNOWN: Mapping[str, Sequence[str]] = {
    "en": ("This is a request about code.", "The user has a task at hand."),
    "zh": ("这是一个与代码有关的请求。", "用户有一项任务。"),
}
SHARES: Mapping[str, Mapping[str, str]] = {
    "en": {"never": "never", "seldom": "seldom", "half": "half the time", "mostly": "mostly", "always": "always"},
    "zh": {"never": "从不", "seldom": "很少", "half": "一半时候", "mostly": "大多", "always": "总是"},
}
BY_WISH: Mapping[str, Mapping[Mode, Sequence[str]]] = {
    "en": {
        ON: (
            "The user asks to think it through.",
            "The user wants careful reasoning.",
            "A thorough look is wished for.",
        ),
        OFF: (
            "The user asks for a direct answer.",
            "The user wants no reasoning.",
            "An immediate reply is wished for.",
        ),
    },
    "zh": {
        ON: ("用户要求仔细思考。", "用户希望逐步推理。"),
        OFF: ("用户要求直接回答。", "用户不希望展开推理。"),
    },
}
BY_TRIES: Mapping[str, Mapping[tuple[Mode, bool], Sequence[str]]] = {
    "en": {
        (ON, True): (
            "Tasks like it are solved {on} with a thought and {off} without one.",
            "A direct answer is right {off}, a thought-out one {on}.",
            "Without reasoning this succeeds {off}, with it {on}.",
        ),
        (OFF, False): (
            "A direct answer is right {off}, and a thought {on}, so it adds nothing.",
            "Tasks like it are solved {off} at once; reasoning, right {on}, gains nothing.",
            "Answering at once succeeds {off}, no worse than reasoning does.",
        ),
        (ON, False): (
            "A direct answer is right {off} here, but a thought can confirm it.",
            "Answering at once succeeds {off}; this time it is checked by reasoning.",
        ),
        (OFF, True): (
            "Reasoning is right {on} and a direct answer {off}; a direct one is tried here.",
            "A direct answer succeeds {off}; it is given all the same.",
        ),
    },
    "zh": {
        (ON, True): (
            "这类任务思考后{on}能解决，直接回答则{off}成功。",
            "直接回答{off}正确，思考之后{on}正确。",
        ),
        (OFF, False): (
            "直接回答{off}正确，思考并不会更好。",
            "这类任务直接回答{off}能解决，推理{on}正确，没有优势。",
        ),
        (ON, False): (
            "直接回答{off}正确，但可以用思考来确认。",
            "直接作答{off}成功，这次用推理检查一下。",
        ),
        (OFF, True): (
            "思考后{on}正确，直接回答{off}正确，这里仍直接回答。",
            "直接回答{off}成功，这次仍然直接给出。",
        ),
    },
}
BY_SIZE: Mapping[str, Mapping[tuple[Mode, str], Sequence[str]]] = {
    "en": {
        (OFF, "short"): (
            "Little is shown and one look tells the answer.",
            "It is short and easy to read off.",
            "The code is small, so the answer is plain to see.",
        ),
        (OFF, "plain"): (
            "What is needed stands in the text itself.",
            "It takes one look and no chain of steps.",
            "The answer can be given from what is shown.",
        ),
        (OFF, "long"): (
            "There is much to read, but only one thing to find.",
            "It is long, yet what is asked for can be named.",
        ),
        (ON, "short"): (
            "Little is shown, but several steps depend on each other.",
            "The code is small, but its steps must be followed in order.",
        ),
        (ON, "plain"): (
            "Several facts have to be put together first.",
            "The steps depend on each other and are easily mixed up.",
            "One look is not enough; each step changes the next.",
        ),
        (ON, "long"): (
            "There is much to keep track of, and slips are likely.",
            "There is more than one thing to keep in mind here.",
            "It is long or hard, and a quick guess would often be wrong.",
        ),
    },
    "zh": {
        (OFF, "short"): ("内容很短，一眼可见答案。", "代码不多，可以直接读出。"),
        (OFF, "plain"): ("所需信息就在文中。", "看一遍即可，不需要多步推导。"),
        (OFF, "long"): ("内容虽多，但只需找到一处。", "篇幅较长，但答案可以直接指出。"),
        (ON, "short"): ("代码虽短，但各步相互依赖。", "内容不多，但需要按顺序推演。"),
        (ON, "plain"): ("需要先把几处事实联系起来。", "各步相互影响，容易混淆。"),
        (ON, "long"): ("要记住的内容很多，容易出错。", "需要同时留意的地方较多。"),
    },
}
ENDS: Mapping[str, Mapping[Mode, Sequence[str]]] = {
    "en": {
        ON: ("It deserves a thought.", "Think first, then answer.", "Reasoning is worth its cost."),
        OFF: ("Answer at once.", "No reasoning is needed.", "A thought would only cost tokens."),
    },
    "zh": {
        ON: ("值得思考。", "先想清楚再作答。", "推理是值得的。"),
        OFF: ("直接回答即可。", "不需要推理。", "思考只会多花时间。"),
    },
}
