"""How users ask and experts speak in episodes, in English and Chinese. All wordings are ours."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

_Wordings = Mapping[str, Sequence[str]]

ASKED: Mapping[str, _Wordings] = {
    "where": {
        "en": (
            "Where is `{name}` defined?",
            "In which file and on which line is `{name}` defined?",
            "I am looking for the definition of {name}. Where is it?",
            "Find the definition of `{name}`.",
            "Which file defines {name}, and where in it?",
            "Point me to {name}, please: file and line.",
            "Where does `{name}` live in this repository?",
        ),
        "zh": (
            "`{name}` 是在哪里定义的？",
            "请找出 {name} 的定义位置(文件和行号)。",
            "{name} 定义在哪个文件的第几行？",
            "帮我看看 `{name}` 在哪儿定义。",
        ),
    },
    "calls": {
        "en": (
            "Who calls `{name}`?",
            "Where is {name} called?",
            "List the places that call `{name}`.",
            "I want to change {name}. Which lines call it?",
            "Find all callers of `{name}`.",
            "Is `{name}` used anywhere, and where?",
        ),
        "zh": (
            "哪些地方调用了 `{name}`？",
            "谁在调用 {name}？请列出文件和行号。",
            "我想改 {name}，先告诉我它在哪里被调用。",
        ),
    },
    "file": {
        "en": (
            "What is in {path}?",
            "What does the file {path} do?",
            "Give me a short summary of `{path}`.",
            "Which functions and classes does {path} define?",
            "Tell me what {path} contains, in a few words.",
        ),
        "zh": ("{path} 这个文件里有什么？", "{path} 是做什么的？", "简单说说 `{path}` 定义了哪些函数和类。"),
    },
    "signature": {
        "en": (
            "Which parameters does `{name}` take?",
            "What is the signature of {name}?",
            "How is `{name}` declared, with which arguments and defaults?",
            "Show me the parameters of {name}.",
        ),
        "zh": ("`{name}` 有哪些参数？", "{name} 的函数签名是什么？", "请告诉我 {name} 的参数和默认值。"),
    },
    "purpose": {
        "en": (
            "What does `{name}` do?",
            "What is {name} for?",
            "Explain in one sentence what `{name}` does.",
            "According to its documentation, what does {name} do?",
        ),
        "zh": ("`{name}` 是做什么用的？", "用一句话说明 {name} 的作用。", "文档里怎么描述 {name}？"),
    },
    "bases": {
        "en": (
            "Which classes does `{name}` inherit from?",
            "What is {name} a subclass of?",
            "What are the bases of `{name}`?",
        ),
        "zh": ("`{name}` 继承自哪些类？", "{name} 的父类是什么？"),
    },
    "folder": {
        "en": (
            "Which files are in {path}?",
            "List the files below `{path}`.",
            "What files does the folder {path} hold?",
            "How many files are in {path}, and which?",
        ),
        "zh": ("{path} 目录下有哪些文件？", "列出 `{path}` 里的文件。"),
    },
    "rename": {
        "en": (
            "Rename the local variable `{old}` in `{name}` ({path}) to `{new}`.",
            "In {path}, function {name}: call the variable {old} `{new}` instead.",
            "Please rename `{old}` to `{new}` inside {name}; nothing else should change.",
            "The variable {old} in {name} has a poor name. Make it {new}.",
        ),
        "zh": (
            "把 {path} 里 {name} 函数的局部变量 `{old}` 改名为 `{new}`。",
            "请将 {name} 中的变量 {old} 重命名为 {new}，其他不要动。",
        ),
    },
    "docstring": {
        "en": (
            "`{name}` in {path} has no docstring. Add this one: {text}",
            "Add a docstring to {name}: {text}",
            "Document {name} in {path} with this text: {text}",
            "Put a docstring into `{name}` that says: {text}",
        ),
        "zh": ("给 {path} 中的 {name} 加上文档字符串：{text}", "`{name}` 没有文档字符串，请加上这一句：{text}"),
    },
    "default": {
        "en": (
            "Change the default of `{param}` in `{name}` from {old} to {new}.",
            "In {path}, make {new} the default of {name}'s parameter {param}.",
            "{name}({param}={old}) should have {new} as its default instead.",
            "Set the default value of {param} in {name} to {new}, please.",
        ),
        "zh": (
            "把 {name} 的参数 `{param}` 的默认值从 {old} 改成 {new}。",
            "请将 {path} 里 {name} 的 {param} 默认值设为 {new}。",
        ),
    },
    "parameter": {
        "en": (
            "Add a parameter `{param}={value}` at the end of {name}'s parameters.",
            "Give `{name}` in {path} one more parameter, {param}, with the default {value}. It is not used yet.",
            "{name} needs a new last parameter {param} (default {value}). Only change the signature.",
        ),
        "zh": (
            "给 {name} 的参数列表末尾加一个参数 `{param}={value}`，先只改签名。",
            "请在 {path} 的 {name} 里新增参数 {param}，默认值为 {value}。",
        ),
    },
    "hint": {
        "en": (
            "Add the return type `{hint}` to `{name}` in {path}.",
            "{name} returns {hint}; annotate it so.",
            "Annotate the return value of `{name}` as `{hint}`.",
        ),
        "zh": ("给 {path} 中的 {name} 加上返回类型注解 `{hint}`。", "{name} 的返回类型是 {hint}，请加上注解。"),
    },
    "missing": {
        "en": (
            "Open {path} and tell me what it does.",
            "Fix the typo in the first comment of {path}.",
            "What is in {path}?",
            "Please explain {path}.",
        ),
        "zh": ("打开 {path}，告诉我它是做什么的。", "请解释一下 {path}。"),
    },
    "unknown": {
        "en": (
            "Where is `{name}` defined?",
            "Rename the function {name} to something shorter.",
            "What does {name} return?",
            "Who calls `{name}`?",
        ),
        "zh": ("`{name}` 在哪里定义？", "{name} 返回什么？"),
    },
    "done": {
        "en": (
            "Set the default of `{param}` in {name} ({path}) to {old}.",
            "Make sure that {param} of {name} has the default {old}.",
        ),
        "zh": ("请把 {path} 中 {name} 的参数 {param} 的默认值设为 {old}。",),
    },
    "repair": {
        "en": (
            "{issue}",
            "{issue}\n\nPlease fix it.",
            "Something is broken here:\n\n{issue}",
            "Find the cause and fix it:\n\n{issue}",
            "Can you repair this?\n\n{issue}",
            "Bug report:\n\n{issue}\n\nDo not change the tests.",
        ),
        "zh": (
            "{issue}\n\n请修复。",
            "请找出原因并修复这个问题：\n\n{issue}",
            "下面的测试失败了，帮我修好：\n\n{issue}",
        ),
    },
}
"""What users say, by kind of episode."""

_SPOKEN: Mapping[str, _Wordings] = {
    "look.off": {
        "en": (
            "Looking something up needs no thought.",
            "A search answers this.",
            "This is only a look at the files.",
            "First find the place; there is nothing to weigh yet.",
            "The repository knows; it has only to be asked.",
            "It is clear what to look for.",
            "One call finds it, whatever comes after.",
            "Nothing can be decided before the place is known.",
        ),
        "zh": (
            "只是查找，不需要思考。",
            "搜索一下就能知道。",
            "要找什么很清楚，直接查。",
            "还没有看到代码，先找位置。",
        ),
    },
    "look.on": {
        "en": ("The user wants it thought through, so each step is considered.", "A short thought was asked for."),
        "zh": ("用户希望仔细思考，所以先想一想。",),
    },
    "look.think": {
        "en": (
            "I do not know yet where this stands in the repository. Looking it up is the surest way to be right.",
            "Before I say or change anything I have to see the place itself, so I look for it first.",
        ),
        "zh": ("我还不知道它在仓库里的位置，先查找才能给出可靠的回答。",),
    },
    "look.answer": {
        "en": ("Let me look that up.", "I search for it.", "Looking for it first.", "One look at the repository."),
        "zh": ("我先查一下。", "先找到位置。"),
    },
    "read.off": {
        "en": (
            "Reading the place is the obvious next step.",
            "The code must be seen before anything is said about it.",
            "Only reading; that needs no thought.",
            "The place is known, so the next step is to open it.",
            "What stands there is not known yet; read first.",
            "A look at these lines, nothing more.",
        ),
        "zh": ("接下来只需读代码。", "先看代码，不需要思考。", "位置已经清楚，打开看就行。", "只是读几行代码。"),
    },
    "read.on": {
        "en": ("The user wants each step considered.", "A thought was asked for before reading on."),
        "zh": ("用户要求每一步都想一想。",),
    },
    "read.think": {
        "en": (
            "The place is known now. The lines themselves decide, so they are read next.",
            "I know where to look, and not yet what stands there; I read it before I go on.",
        ),
        "zh": ("位置已经知道了，接下来要看代码本身。",),
    },
    "read.answer": {
        "en": ("Now I read it.", "Reading the lines.", "Let me see the code.", "I look at the code itself."),
        "zh": ("我看一下代码。", "读这几行。"),
    },
    "test.off": {
        "en": (
            "Running the tests is routine.",
            "The tests say more than a guess.",
            "Checking is only a matter of running them.",
        ),
        "zh": ("运行测试不需要思考。", "直接跑测试就行。"),
    },
    "test.on": {
        "en": ("The user wants each step considered.",),
        "zh": ("用户要求每一步都想一想。",),
    },
    "test.think": {
        "en": (
            "Nothing is known for sure until the tests have run, so they run now.",
            "What the tests say decides how to go on; I run them.",
        ),
        "zh": ("要确定情况，最好先运行测试。",),
    },
    "test.answer": {
        "en": ("Running the tests.", "I run the tests.", "The tests, please.", "Now the tests."),
        "zh": ("运行测试。", "我跑一下测试。"),
    },
    "analyse.off": {
        "en": (
            "The failing line is plain to see.",
            "The cause can be named at once.",
            "What is wrong stands in the lines just read.",
        ),
        "zh": ("原因很明显，可以直接修改。", "问题就在刚读到的代码里。"),
    },
    "analyse.on": {
        "en": (
            "What fails and what the code does must be put together.",
            "The cause has to be worked out before anything is changed.",
            "An edit should rest on an understood cause.",
            "Several lines could be to blame, so they are weighed first.",
            "A wrong repair would cost more than a thought.",
        ),
        "zh": ("需要把失败信息和代码对照起来分析。", "修改之前要先弄清原因。"),
    },
    "analyse.answer": {
        "en": (
            "This line is wrong; I correct it.",
            "I put it right.",
            "Here is the mistake.",
            "One change mends it.",
            "Found it; this is the correction.",
        ),
        "zh": ("找到问题了，我来改正。", "这里有错，修改如下。"),
    },
    "edit.off": {
        "en": (
            "The change was described exactly; it can be made at once.",
            "A small, clear edit.",
            "Nothing is open about this change.",
        ),
        "zh": ("修改内容很明确，可以直接动手。",),
    },
    "edit.on": {
        "en": ("The edit must touch the right places and no others.", "A change deserves a short check beforehand."),
        "zh": ("修改之前确认一下要动哪些地方。",),
    },
    "edit.answer": {
        "en": ("I make the change.", "Here is the edit.", "Changing it now.", "This does it."),
        "zh": ("我来修改。", "修改如下。"),
    },
    "mend.off": {
        "en": ("The text only has to be copied exactly.",),
        "zh": ("只需照原文写一遍。",),
    },
    "mend.on": {
        "en": ("The last edit failed; see why.",),
        "zh": ("上次修改没有成功，先看原因。",),
    },
    "mend.answer": {
        "en": ("Once more, with the text as it stands in the file.", "Again, copied exactly."),
        "zh": ("按文件里的原文再来一次。",),
    },
    "tell.off": {
        "en": (
            "The answer stands in what was just shown.",
            "This can be said at once.",
            "All that is needed is known.",
            "Nothing is open any more; only the answer is left.",
            "The last result says it plainly.",
            "It only has to be put into words.",
        ),
        "zh": ("答案已经在上面了，可以直接说。", "结果很明确，直接回答。", "需要的信息都有了。"),
    },
    "tell.on": {
        "en": (
            "The findings must be read with care before they are summed up.",
            "What was found is compared with the question first.",
            "An answer must say no more than what was seen.",
        ),
        "zh": ("回答之前先核对一下查到的内容。",),
    },
    "check.off": {
        "en": ("Looking at the edit once more is routine.", "Only a check of what was written."),
        "zh": ("只是确认一下写入的内容。",),
    },
    "check.on": {"en": ("The user wants each step considered.",), "zh": ("用户要求每一步都想一想。",)},
    "check.think": {
        "en": (
            "The edit went through. To be sure that it stands where it belongs, I search for the new text.",
            "The tool says that the file was changed; one search shows whether the new line is in its place.",
        ),
        "zh": ("修改已经写入，再搜索一下新的内容，确认位置正确。",),
    },
    "check.answer": {
        "en": ("One look at the edit.", "A quick check of the new line.", "Is it in its place?"),
        "zh": ("确认一下修改。", "看看新内容是否到位。"),
    },
    "finish.off": {
        "en": ("The work is done.", "Nothing is left to do.", "What was asked for is in place; only a report is due."),
        "zh": ("工作已经完成。", "该做的都做了，直接汇报。"),
    },
    "finish.on": {
        "en": ("Before it counts as done, the work is looked over.",),
        "zh": ("结束之前再核对一遍。",),
    },
    "finish.answer": {"en": ("Done.",), "zh": ("完成。",)},
}
"""What experts say, by role and part: judges for both modes, a thought, words before a call."""


def asked(rng: random.Random, kind: str, language: str, **values: object) -> str:
    """The user's words for an episode of this kind."""
    return rng.choice(ASKED[kind][language]).format(**values)


def said(rng: random.Random, key: str, language: str) -> str:
    """An expert's words."""
    return rng.choice(_SPOKEN[key][language])


def in_words(language: str, en: str, zh: str) -> str:
    """The one that is in the language."""
    return zh if language == "zh" else en
