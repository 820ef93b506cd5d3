"""Makes a conversation shorter for the model, when it nears the limit of the context or the user asks for it.

First old tool output is cut to its head and tail; if that is not enough, the old steps are replaced by a summary that
the model writes with thinking off. The user's own words, changed files, failing tests and open tasks stay word for
word, and so do the last two steps, unless that is not enough either: then the output of the last but one is cut, and
that of the last only where the prompt would not fit at all. The journal keeps everything, and a record of the new
turns, from which the same bytes come back.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from assistant.context import Transcript, Turn, prompt_text
from assistant.events import Compacted, Event, Notice
from assistant.facts import Facts, facts
from assistant.gauge import TARGET, Gauge, Length, left, needs, room
from assistant.records import Tokens
from assistant.sessions.journal import Journal, read
from assistant.shortening import divided, listed, shortened, steps_before, summed_up, with_less_output
from model.engine import Engine, EngineError, EngineRefused, Finish, Sampling
from model.format import ThinkRequest
from model.prompt import Dialect, Message, Prompt, ToolSpec

OUTPUT_LIMITS = (2_000, 600, 200)
"""Characters that old tool output is cut to, one after the other until it is enough; our choice."""
SUMMARY_TOKENS = 1_024
_SHARE = 8
"""The longest summary, in tokens and as a part of the context (one of so many); our choice."""
_LIST = 4
"""Characters of a summary without a model, for each token that one of the model's may have; our choice."""
_WHY = "Summing up needs no thought."


@dataclass(frozen=True, slots=True)
class Shortened:
    """New turns for a transcript, and how long the prompt is with them; `summary` is empty if none was needed."""

    turns: tuple[Turn, ...]
    length: Length
    summary: str = ""


class Compactor:
    """Compacts the conversation of one session. `context` is the engine's limit in tokens, None if it is not known.

    `by_model` is False for models too small to sum up anything: a plain list of calls does it for them. `readable`
    says whether the model has a tool that reads the whole of an earlier output.
    """

    def __init__(
        self,
        engine: Engine,
        dialect: Dialect,
        specs: Sequence[ToolSpec],
        sampling: Sampling,
        context: int | None,
        *,
        by_model: bool = True,
        readable: bool = True,
    ) -> None:
        self.gauge = Gauge(engine, dialect, specs)
        self._engine = engine
        self._dialect = dialect
        self._specs = tuple(specs)
        self._sampling = sampling
        self._context = context
        self._by_model = by_model
        self._readable = readable
        self._summary_tokens = SUMMARY_TOKENS if context is None else min(SUMMARY_TOKENS, context // _SHARE)
        self._since: int | None = None

    def offering(self, specs: Sequence[ToolSpec]) -> Compactor:
        """The same for prompts that offer these tools."""
        return Compactor(
            self._engine,
            self._dialect,
            specs,
            self._sampling,
            self._context,
            by_model=self._by_model,
            readable=self._readable,
        )

    async def make_room(self, transcript: Transcript, journal: Journal, emit: Callable[[Event], None]) -> None:
        """Compact if the next prompt needs it. To be called between two steps.

        Raises:
            EngineRefused: it does not fit, and nothing in it may be left out.
            EngineError: the engine cannot count.
            OSError: the journal cannot be written; nothing has changed then.
        """
        if not self.due(transcript):
            return
        before = await self._measured(transcript)
        if not self._needs(before.tokens, self._since):
            return
        made = await self._shortened(transcript, journal, emit, before, "", int(TARGET * self._room))
        after = self._adopt(transcript, journal, emit, before, made) if made else before
        self._since = after.tokens
        if after.exact and self._context is not None and not left(self._context, after.tokens):
            raise EngineRefused(_too_long(after.tokens, self._context))

    async def compact(
        self, transcript: Transcript, journal: Journal, emit: Callable[[Event], None], hint: str = ""
    ) -> None:
        """Sum up the old steps because the user asks for it; `hint` says what matters to him.

        Raises:
            EngineError: the engine cannot count.
            OSError: the journal cannot be written; nothing has changed then.
        """
        before = await self.gauge.length(transcript.messages)
        made = await self._shortened(transcript, journal, emit, before, hint, 0)
        if made is None:
            emit(Notice("info", "There is nothing to make shorter: the last two steps and your own words stay."))
            return
        self._since = self._adopt(transcript, journal, emit, before, made).tokens

    async def reply_tokens(self, transcript: Transcript) -> int:
        """The most tokens that the next reply may have: as the sampling says, or as many as fit behind the prompt.

        Raises:
            EngineError: the engine cannot count.
        """
        wanted = self._sampling.max_tokens
        if self._context is None:
            return wanted
        used = self.gauge.at_most(transcript)
        if used is None or left(self._context, used) < wanted:
            used = (await self._measured(transcript)).tokens
        return min(wanted, left(self._context, used)) or wanted

    def saw(self, prompt: Prompt, tokens: Tokens) -> None:
        """The engine counted the tokens of this prompt."""
        self.gauge.saw(prompt, tokens.prompt)

    def due(self, transcript: Transcript) -> bool:
        """Whether the next prompt may need `make_room`. Quick, and never False where it does."""
        bound = self.gauge.at_most(transcript)
        return self._context is not None and (bound is None or self._needs(bound, self._since))

    async def _measured(self, transcript: Transcript) -> Length:
        length = await self.gauge.length(transcript.messages)
        self.gauge.measured(len(transcript.turns), length.tokens)
        return length

    def _needs(self, tokens: int, since: int | None = None) -> bool:
        return needs(self._context, tokens, self._sampling.max_tokens, since)

    @property
    def _room(self) -> int:
        return sys.maxsize if self._context is None else room(self._context, self._sampling.max_tokens)

    def _adopt(
        self,
        transcript: Transcript,
        journal: Journal,
        emit: Callable[[Event], None],
        before: Length,
        made: Shortened,
    ) -> Length:
        exact = before.exact and made.length.exact
        event = Compacted(before.tokens, made.length.tokens, exact, made.summary)
        journal.append("compacted", sync=True, **record(event, made.turns))
        transcript.turns[:] = made.turns
        self.gauge.measured(len(made.turns), made.length.tokens)
        emit(event)
        if not exact:
            emit(Notice("info", "The lengths are estimates: this server does not count the tokens of a prompt."))
        return made.length

    async def _shortened(
        self,
        transcript: Transcript,
        journal: Journal,
        emit: Callable[[Event], None],
        before: Length,
        hint: str,
        target: int,
    ) -> Shortened | None:
        """The turns that are short enough, or as short as may be; None where nothing gets shorter."""
        known = await asyncio.to_thread(lambda: facts(read(journal.path)))
        made = await self._with_less_output(transcript, known, target)
        if made.length.tokens > target and steps_before(transcript.turns):
            made = await self._summed_up(transcript, known, hint, made, emit)
        if made.length.tokens > (target or self._room):
            made = await self._with_less_of_the_last_steps(transcript, made, target or self._room)
        return made if made.length.tokens < before.tokens else None

    async def _with_less_output(self, transcript: Transcript, known: Facts, target: int) -> Shortened:
        for limit in OUTPUT_LIMITS:
            turns = with_less_output(transcript.turns, known, limit, readable=self._readable)
            length = await self._length(transcript, turns)
            if length.tokens <= target:
                break
        return Shortened(turns, length)

    async def _with_less_of_the_last_steps(self, transcript: Transcript, made: Shortened, target: int) -> Shortened:
        """Cut what the model has read already; what it has not, only where the prompt would be refused."""
        newest = max((n for n, turn in enumerate(made.turns) if turn.kind == "reply"), default=0)
        for limit in OUTPUT_LIMITS:
            made = await self._cut(transcript, made, newest, limit)
            if made.length.tokens <= target:
                return made
        if made.length.tokens <= self._room:
            return made
        return await self._cut(transcript, made, len(made.turns), OUTPUT_LIMITS[-1])

    async def _cut(self, transcript: Transcript, made: Shortened, end: int, limit: int) -> Shortened:
        turns = (*(shortened(turn, limit, readable=self._readable) for turn in made.turns[:end]), *made.turns[end:])
        return Shortened(turns, await self._length(transcript, turns), made.summary)

    async def _summed_up(
        self, transcript: Transcript, known: Facts, hint: str, short: Shortened, emit: Callable[[Event], None]
    ) -> Shortened:
        old, tail = divided(transcript.turns)
        summary, fault = await self._written(transcript, old, short, hint) if self._by_model else ("", "")
        if fault:
            emit(
                Notice(
                    "warning", f"The model could not sum up the old steps ({fault}); a list of calls stands for them."
                )
            )
        summary = summary or listed(old, _LIST * self._summary_tokens)
        turns = summed_up(old, tail, summary, known)
        length = await self._length(transcript, turns)
        return Shortened(turns, length, summary) if length.tokens < short.length.tokens else short

    async def _written(
        self, transcript: Transcript, old: Sequence[Turn], short: Shortened, hint: str
    ) -> tuple[str, str]:
        """The model's summary, or why there is none.

        It is asked behind the old steps as they are, which the engine still has in its cache; where that does not
        fit, behind the shortened ones.
        """
        question = Message("user", request(hint))
        for turns in (old, divided(short.turns)[0]):
            messages = [Message("system", transcript.system), *(turn.message for turn in turns), question]
            length = await self.gauge.length(messages)
            if self._context is None or self._summary_tokens <= left(self._context, length.tokens):
                return await self._asked(self._dialect.render(messages, self._specs, ThinkRequest.OFF, _WHY))
        return "", "the old steps do not fit into its context"

    async def _asked(self, prompt: Prompt) -> tuple[str, str]:
        parser = self._dialect.parser()
        parser.feed(prompt.opening.text)
        finish = None
        try:
            sampling = replace(self._sampling, max_tokens=self._summary_tokens)
            async with aclosing(self._engine.stream(prompt, sampling)) as stream:
                async for delta in stream:
                    parser.feed(delta.text)
                    finish = delta.finish or finish
        except EngineError as error:
            return "", str(error)
        parser.close()
        match finish:
            case Finish.LENGTH:
                return "", "its summary was too long"
            case Finish.CUT:
                return "", "the stream broke off"
        text = parser.reply.answer.strip()
        return text, "" if text else "its summary was empty"

    async def _length(self, transcript: Transcript, turns: Sequence[Turn]) -> Length:
        messages = [Message("system", transcript.system), *(turn.message for turn in turns)]
        return await self.gauge.length(messages)


def record(event: Compacted, turns: Sequence[Turn]) -> dict[str, Any]:
    """The fields of a `compacted` record."""
    counted = {"before": event.before, "after": event.after, "exact": event.exact, "summary": event.summary}
    return {**counted, "turns": [turn.as_record() for turn in turns]}


def request(hint: str) -> str:
    """What the model is asked for a summary."""
    text = prompt_text("compaction")
    return f"{text}\n\nThe developer says what matters most: {hint.strip()}" if hint.strip() else text


def _too_long(tokens: int, context: int) -> str:
    return (
        f"the conversation has {tokens:,} tokens in your own words and its last steps alone, and the model takes "
        f"{context:,} with its reply; start a new session with /new, or give long texts as files"
    )
