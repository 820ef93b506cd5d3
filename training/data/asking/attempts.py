"""One task before a model: answers drawn and the shortest right one kept, or a thought written, judged and revised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from model.format import Reply, ThinkRequest
from training.data.asking.checking import Verdict
from training.data.asking.drawing import BrokeOff, Model, TookTooLong
from training.data.asking.posing import Posed
from training.data.asking.replies_cache import Drawn
from training.data.asking.roles import Criticism, critic, read_criticism, thinker
from training.data.schema import Evidence
from training.seeds import derived

_TELLING = ("first attempt", "the attempt", "last reasoning", "last answer")
"""Words by which a thought betrays that it was written upon a draft."""


class Dropped(Exception):
    """Nothing came of a task, for a reason of one word; the message is a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rules:
    """How often is tried: `tries` answers without thinking, `rounds` revisions, and the score a critic must give."""

    seed: int = 0
    tries: int = 4
    rounds: int = 2
    threshold: float = 0.7


@dataclass(frozen=True, slots=True)
class Kept:
    """A reply that is good: what says so, and in which of how many it was found."""

    reply: Reply
    by: Evidence
    evidence: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A task's id and how it is posed, who is asked, and `checked`, which tells what tests or a known answer say."""

    task: str
    posed: Posed
    model: Model
    rules: Rules
    checked: Callable[[Reply], Awaitable[Verdict]]

    async def direct(self) -> Kept:
        """The shortest right answer without thinking. Raises `Dropped`."""
        drawn = [each for each in await self._drafts() if each.whole and each.reply.answer.strip()]
        if not drawn:
            raise Dropped("cut", "no answer came to its end within its limit of tokens")
        for each in sorted(drawn, key=_size):
            verdict = await self.checked(each.reply)
            if verdict.passed is None:
                criticism = await self._criticised(each.reply)
                if criticism.judged(self.rules.threshold) == "accept":
                    return self._kept(each.reply, "critic", len(drawn), score=criticism.score)
            elif verdict.passed:
                return self._kept(each.reply, verdict.by, len(drawn))
        raise Dropped("unsolved", f"none of {self.rules.tries} answers without thinking is right")

    async def thought(self) -> Kept:
        """A reply with the whole reasoning, revised while it can be mended. Raises `Dropped`."""
        draft = (await self._solved(0)).reply.answer
        before: tuple[str, str] | None = None
        problems: Sequence[str] = ()
        for number in range(self.rules.rounds + 1):
            drawn = await self._thought_of(draft, before, problems, number)
            by, problems, score = await self._judged(drawn)
            if not problems:
                return self._kept(drawn.reply, by, number + 1, score=score)
            before = drawn.reply.think, drawn.reply.answer
        raise Dropped("unsolved", f"no reasoning was right after {self.rules.rounds} revisions: {problems[0]}")

    async def _judged(self, drawn: Drawn) -> tuple[Evidence, Sequence[str], float | None]:
        """What says that a reply is right, or what is wrong with it. Raises `Dropped` where it cannot be mended."""
        if found := _unfit(drawn):
            return "none", (found,), None
        verdict = await self.checked(drawn.reply)
        if verdict.passed is not None:
            return verdict.by, () if verdict.passed else (verdict.why or "it is not right",), None
        criticism = await self._criticised(drawn.reply)
        match criticism.judged(self.rules.threshold):
            case "accept":
                return "critic", (), criticism.score
            case "revise":
                low = f"its score is {criticism.score:g}, and {self.rules.threshold:g} is needed"
                return "critic", criticism.problems or (low,), criticism.score
            case "reject":
                raise Dropped("rejected", "; ".join(criticism.problems) or "the critic rejects the reply")

    async def _drafts(self) -> list[Drawn]:
        """The solver's answers; that some do not come is no matter, unless none does."""
        draws = (self._solved(number) for number in range(self.rules.tries))
        found = await asyncio.gather(*draws, return_exceptions=True)
        drawn = [each for each in found if not isinstance(each, BaseException)]
        for error in found:
            if isinstance(error, BaseException) and not (drawn and isinstance(error, TookTooLong | BrokeOff)):
                raise error
        return drawn

    async def _solved(self, number: int) -> Drawn:
        return await self.model.reply(self.posed.messages, ThinkRequest.OFF, self._seed("solver", number))

    async def _thought_of(
        self, draft: str, before: tuple[str, str] | None, problems: Sequence[str], number: int
    ) -> Drawn:
        told = thinker(self.posed.messages, draft, before, problems)
        return await self.model.reply(told, ThinkRequest.ON, self._seed("thinker", number))

    async def _criticised(self, reply: Reply) -> Criticism:
        """The critic's verdict; one that cannot be read is asked for once more. Raises `Dropped`."""
        failed: str | None = None
        for number in range(2):
            told = critic(self.posed.messages, reply.think, reply.answer, failed)
            said = (await self.model.reply(told, ThinkRequest.OFF, self._seed("critic", number), 0.0)).reply.answer
            if criticism := read_criticism(said):
                return criticism
            failed = said
        raise Dropped("malformed", "the critic's verdict does not follow its schema, asked twice")

    def _seed(self, role: str, number: int) -> int:
        return derived(self.rules.seed, "synthesize", role, self.task, number)

    def _kept(self, reply: Reply, by: Evidence, tried: int, score: float | None = None) -> Kept:
        evidence = {"model": self.model.name, "tried": str(tried)}
        if score is not None:
            evidence["score"] = f"{score:g}"
        return Kept(replace(reply, answer=self.posed.answer(reply.answer)), by, evidence)


def _size(drawn: Drawn) -> tuple[int, int, str]:
    """Shorter before longer, by tokens, then by characters; the same order whichever came first."""
    return drawn.tokens.get("answer", 0), len(drawn.reply.answer), drawn.reply.answer


def _unfit(drawn: Drawn) -> str:
    """Why a reply with a thought cannot be learned from, however right; empty if it can."""
    reply = drawn.reply
    if not drawn.whole:
        return "the reply is too long and was cut"
    if not reply.think.strip() or not reply.answer.strip():
        return "there is no reasoning, or no answer behind it"
    if any(words in reply.think.lower() for words in _TELLING):
        return "the reasoning speaks of the attempt, of which the reader knows nothing"
    return ""
