"""Engines that take a whole prompt: /v1/completions of vLLM, SGLang, llama-server and Ollama."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from model.batch import Samples, reseeded, together
from model.engine import Delta, EngineError, Sampling, Usage
from model.engines.choices import Choices
from model.engines.remote import END_OF_TURN, RemoteEngine, deltas, sampling_body, usage_of
from model.engines.transport import NotServed, NotUnderstood, StreamBroken
from model.grammar import whole
from model.prompt import Prompt

_MARKS = {"skip_special_tokens": False, "spaces_between_special_tokens": False}
"""The marks of a mode may be special tokens of the vocabulary; they must arrive, and without added spaces.

Most servers pass over what they do not know; `transformers serve` refuses it.
"""


class HttpEngine(RemoteEngine):
    """Streams from /v1/completions, which gives exact control of how the reply begins."""

    _plain = False

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The reply; token ids go out where a tokenizer was given, else text with foreign markup escaped."""
        for again in (True, False):
            body = await self._request(prompt, sampling)
            try:
                async with aclosing(deltas(self._transport, "/v1/completions", body, _text, _nothing)) as found:
                    async for delta in found:
                        yield delta
                return
            except NotUnderstood as error:
                if not (again and (self._leaves_out(error) or await self.renamed())):
                    raise

    async def batch(self, prompt: Prompt, sampling: Sampling, n: int, grammar: str | None) -> Samples:
        """`n` replies in one request; what a server does not understand of it, `n` or the grammar, is left out."""
        await self.info()
        for held in dict.fromkeys((grammar, None)):
            try:
                return await self._filled(prompt, sampling, n, held)
            except NotUnderstood as error:
                if held is None and not self._leaves_out(error):
                    raise
        return await self._filled(prompt, sampling, n, None)

    async def has_completions(self) -> bool:
        """Whether the server knows /v1/completions: an empty request is refused there, and not found elsewhere.

        Raises `EngineUnreachable` or `EngineRefused` if the server cannot be used at all.
        """
        await self.info()
        try:
            await self._transport.post_json("/v1/completions", {})
        except NotServed:
            return False
        except EngineError:
            return True
        return True

    async def _filled(self, prompt: Prompt, sampling: Sampling, n: int, grammar: str | None) -> Samples:
        """What one request gives, and as many more as are missing: Ollama gives one, llama-server has few slots."""
        body = {**await self._request(prompt, sampling), **_held(self._program, grammar)}
        body["stream_options"] = {"include_usage": True}
        try:
            drawn = await self._drawn({**body, "n": n})
        except NotUnderstood:
            if n == 1:
                raise
            drawn = Samples()
        seats = range(len(drawn.replies), n)
        seeds = (reseeded(sampling, seat).seed for seat in seats)
        singles = {
            seat: body if seed is None else {**body, "seed": seed} for seat, seed in zip(seats, seeds, strict=True)
        }
        return drawn + await together(lambda seat: self._drawn(singles[seat]), seats)

    async def _drawn(self, body: Mapping[str, Any]) -> Samples:
        choices, usage = Choices(), Usage()
        try:
            async with aclosing(self._transport.events("/v1/completions", body)) as events:
                async for event in events:
                    choices.take(event)
                    usage = usage_of(event) or usage
        except StreamBroken:
            pass  # what came is kept; a reply without an end is marked as cut
        return Samples(choices.samples, replace(usage, completion=max(usage.completion, choices.tokens)))

    async def _request(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        return {
            "model": await self.target(),
            **await self._form(prompt),
            "prompt": prompt.token_ids(self._tokenizer) if self._tokenizer else prompt.text,
            "stop": [*END_OF_TURN, *sampling.stop],
            **({} if self._plain else _MARKS),
            **sampling_body(sampling),
        }

    def _leaves_out(self, error: NotUnderstood) -> bool:
        """Whether the server refused by name what it need not know; that is not sent again then."""
        if self._plain or not any(option in str(error) for option in _MARKS):
            return False
        self._plain = True
        return True

    async def _form(self, prompt: Prompt) -> dict[str, Any]:
        """What holds a reply to KAT's format, where that is wanted and the server can."""
        if not self._hold or prompt.dialect != "kat":
            return {}
        await self.info()
        return _held(self._program, whole(prompt.opening.segment, prompt.tools))


def _held(program: str, grammar: str | None) -> dict[str, Any]:
    """How a server is asked to hold replies to a grammar; one that is not known is not asked."""
    match program:
        case _ if grammar is None:
            return {}
        case "vllm":
            return {"structured_outputs": {"grammar": grammar}}
        case "sglang":
            return {"ebnf": grammar}
        case "llamacpp":
            return {"grammar": grammar}
        case _:
            return {}


def _text(choice: Mapping[str, Any]) -> str:
    text = choice.get("text")
    return text if isinstance(text, str) else ""


def _nothing(done: bool) -> str:
    return ""
