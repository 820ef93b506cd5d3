"""The user's wish about thinking, in words: made for prompts that carry one, and read where a prompt is a real one.

A wording is a core ("think step by step") in a frame ("please …", "… if you can"). The core says which way and how
much, the frame says it louder or softer. Strengths run from -1 (by no means) to 1 (by all means); the numbers are our
choice. A wish of at least `BINDING` is one that the assistant's think policy hears too, and obeys; weaker ones are left
to the model's own judge.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from assistant.think import wish_in
from model.format import ThinkRequest

BINDING = 0.5
"""The least strength, either way, that binds the assistant; our choice."""
_HINT = 0.4
"""The most that a wording can weigh which does not name thinking or answering; our choice."""
_READ = 0.7
"""The strength of a wish that the think policy hears in words that are none of ours; our choice."""
LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sentence of the user's. `strength` has the sign of the wish; it is 0 where the choice is left to the model."""

    text: str
    wish: ThinkRequest
    strength: float
    language: str = "en"

    @property
    def binds(self) -> bool:
        """Whether it decides the mode; a weaker wish only inclines the model."""
        return abs(self.strength) >= BINDING


class _Wording(NamedTuple):
    """A core with its strength, or a frame (``{}`` stands for the core) with what it adds to the strength's size."""

    text: str
    strength: float


_CORES: Mapping[tuple[str, ThinkRequest], Sequence[_Wording]] = {
    ("en", ThinkRequest.ON): (
        _Wording("think step by step", 0.8),
        _Wording("think it through", 0.7),
        _Wording("think carefully", 0.7),
        _Wording("think hard", 0.8),
        _Wording("think long and hard about this", 0.9),
        _Wording("think deeply", 0.8),
        _Wording("think before you answer", 0.6),
        _Wording("reason step by step", 0.8),
        _Wording("reason carefully", 0.7),
        _Wording("take your time to think", 0.7),
        _Wording("work it out step by step", 0.7),
        _Wording("have a second look", 0.3),
        _Wording("be thorough", 0.4),
        _Wording("take your time", 0.4),
    ),
    ("en", ThinkRequest.OFF): (
        _Wording("answer directly", -0.8),
        _Wording("just answer", -0.7),
        _Wording("don't think", -0.9),
        _Wording("don't think long", -0.6),
        _Wording("don't overthink it", -0.6),
        _Wording("answer without thinking", -0.9),
        _Wording("skip the reasoning", -0.8),
        _Wording("just give me the answer", -0.8),
        _Wording("answer right away", -0.7),
        _Wording("no step-by-step reasoning", -0.8),
        _Wording("be quick", -0.4),
        _Wording("keep it short", -0.3),
        _Wording("be brief", -0.3),
    ),
    ("en", ThinkRequest.AUTO): (
        _Wording("think only if it helps", 0.0),
        _Wording("decide yourself how much effort it takes", 0.0),
        _Wording("use as much thought as it deserves", 0.0),
    ),
    ("zh", ThinkRequest.ON): (
        _Wording("一步一步思考", 0.8),
        _Wording("一步一步仔细推理", 0.9),
        _Wording("逐步推理", 0.8),
        _Wording("仔细思考", 0.7),
        _Wording("仔细想想", 0.6),
        _Wording("深入思考", 0.8),
        _Wording("认真思考", 0.7),
        _Wording("好好想一想", 0.6),
        _Wording("想清楚再回答", 0.7),
        _Wording("逐步分析", 0.7),
        _Wording("深思熟虑", 0.8),
        _Wording("慎重一点", 0.4),
        _Wording("慢慢来", 0.3),
    ),
    ("zh", ThinkRequest.OFF): (
        _Wording("直接回答", -0.8),
        _Wording("直接告诉我结果", -0.8),
        _Wording("不要思考", -0.9),
        _Wording("不用思考", -0.8),
        _Wording("无需推理", -0.8),
        _Wording("不必仔细分析", -0.6),
        _Wording("跳过推理", -0.8),
        _Wording("马上回答", -0.7),
        _Wording("别想太多", -0.6),
        _Wording("只给我答案", -0.7),
        _Wording("简短一点", -0.3),
        _Wording("快一点", -0.4),
    ),
    ("zh", ThinkRequest.AUTO): (
        _Wording("需要的话可以思考", 0.0),
        _Wording("要不要思考由你决定", 0.0),
        _Wording("花多少力气你自己看着办", 0.0),
    ),
}
_FRAMES: Mapping[str, Sequence[_Wording]] = {
    "en": (
        _Wording("{}", 0.0),
        _Wording("please {}", 0.0),
        _Wording("{}, please", 0.0),
        _Wording("could you {}?", -0.1),
        _Wording("maybe {}", -0.4),
        _Wording("if you can, {}", -0.2),
        _Wording("ideally, {}", -0.2),
        _Wording("really, {}", 0.1),
        _Wording("it is important: {}", 0.2),
        _Wording("whatever you do, {}", 0.3),
    ),
    "zh": (
        _Wording("{}", 0.0),
        _Wording("请{}", 0.0),
        _Wording("麻烦{}", -0.1),
        _Wording("可以的话，{}", -0.2),
        _Wording("最好{}", -0.2),
        _Wording("也许可以{}", -0.4),
        _Wording("请你务必{}", 0.2),
        _Wording("重要：{}", 0.2),
        _Wording("无论如何都请{}", 0.3),
    ),
}
_ENDS = {"en": (".", "!"), "zh": ("。", "！")}
_PLAIN = frozenset({"could you {}?", "ideally, {}", "也许可以{}"})
"""Frames that need a verb in its plain form behind them, so that "no …" and "don't …" do not fit."""
_NOT_NEEDED = ("无需", "不用", "不必")
_SOFT = frozenset({"{}", "可以的话，{}", "重要：{}"})
"""Frames for what says that something is not needed: nobody can be asked to do that."""


def phrase(rng: random.Random, wish: ThinkRequest, language: str = "en") -> Phrase:
    """A wording of the wish, of any strength; one of `phrases`."""
    core, frame, end = rng.choice(_CORES[language, wish]), rng.choice(_FRAMES[language]), rng.choice(_ENDS[language])
    frame = frame if _fits(core, frame) else _FRAMES[language][0]
    return _composed(core, frame, end, wish, language)


def phrases() -> Iterator[Phrase]:
    """All wordings, each once."""
    every = (
        _composed(core, frame, end, wish, language)
        for (language, wish), cores in _CORES.items()
        for core, frame, end in product(cores, _FRAMES[language], _ENDS[language])
        if _fits(core, frame)
    )
    yield from {each.text: each for each in every}.values()


def strength(text: str) -> float:
    """How strongly a text wishes for thought (to 1) or for none (to -1); 0 where it says nothing of it.

    The last wording counts, as in the think policy, which is also asked: of two readings that disagree its own wins,
    and where it hears a wish in words that are none of ours, that is one of middling strength.
    """
    heard = wish_in(text)
    found = _last_wording(text)
    if heard is ThinkRequest.AUTO:
        return found if abs(found) < BINDING else 0.0
    sign = 1.0 if heard is ThinkRequest.ON else -1.0
    return found if found * sign > 0 else sign * _READ


def wish_of(strength: float) -> ThinkRequest:
    """What a strength asks for; weaker than `BINDING` it leaves the choice to the model."""
    if abs(strength) < BINDING:
        return ThinkRequest.AUTO
    return ThinkRequest.ON if strength > 0 else ThinkRequest.OFF


def _fits(core: _Wording, frame: _Wording) -> bool:
    """A choice that is left open goes without a frame, and a plain verb is needed behind some."""
    if not core.strength:
        return frame.text == "{}"
    if core.text.startswith(_NOT_NEEDED):
        return frame.text in _SOFT
    return frame.text not in _PLAIN or not core.text.startswith(("no ", "don't ", "不", "别"))


def _composed(core: _Wording, frame: _Wording, end: str, wish: ThinkRequest, language: str) -> Phrase:
    said = frame.text.replace("{}", core.text)
    text = said if said.endswith("?") else said + end
    text = text[0].upper() + text[1:]
    return Phrase(text, wish, _sized(core.strength, frame.strength), language)


def _sized(core: float, frame: float) -> float:
    """The strength of a core in a frame. No frame makes a clear wish a hint, or a hint a wish that binds."""
    if not core:
        return 0.0
    low, high = (BINDING, 1.0) if abs(core) >= BINDING else (0.1, _HINT)
    size = min(high, max(low, abs(core) + frame))
    return round(size if core > 0 else -size, 2)


def _pattern(language: str) -> re.Pattern[str]:
    cores = {core.text for (spoken, _), each in _CORES.items() if spoken == language for core in each}
    heads = {frame.text.partition("{}")[0] for frame in _FRAMES[language]} - {""}
    core, head = (_any_of(each) for each in (cores, heads))
    edge = r"\b" if language == "en" else ""
    return re.compile(rf"(?P<head>{edge}{head})?(?P<core>{edge}{core}){edge}", re.IGNORECASE)


def _any_of(texts: set[str]) -> str:
    """One of the texts, the longest that fits."""
    return f"(?:{'|'.join(map(re.escape, sorted(texts, key=lambda text: (-len(text), text))))})"


_PATTERNS = {language: _pattern(language) for language in LANGUAGES}
_BY_CORE = {core.text: core.strength for cores in _CORES.values() for core in cores}
_BY_HEAD = {frame.text.partition("{}")[0]: frame.strength for frames in _FRAMES.values() for frame in frames}


def _last_wording(text: str) -> float:
    """The strength of the wording that ends last in a text."""
    found = [match for pattern in _PATTERNS.values() for match in pattern.finditer(text.replace("’", "'"))]
    if not found:
        return 0.0
    last = max(found, key=lambda match: match.end())
    return _sized(_BY_CORE[last["core"].lower()], _BY_HEAD[(last["head"] or "").lower()])
