"""Engines that take a whole prompt: /v1/completions of vLLM, SGLang, llama-server and Ollama."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from model.engine import Delta, EngineError, Sampling
from model.engines.remote import END_OF_TURN, RemoteEngine, deltas, sampling_body
from model.engines.transport import NotServed
from model.prompt import Prompt


class HttpEngine(RemoteEngine):
    """Streams from /v1/completions, which gives exact control of how the reply begins."""

    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """The reply; token ids go out where a tokenizer was given, else text with foreign markup escaped."""
        body = await self._request(prompt, sampling)
        async with aclosing(deltas(self._transport, "/v1/completions", body, _text, _nothing)) as found:
            async for delta in found:
                yield delta

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

    async def _request(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        return {
            "model": await self.target(),
            "prompt": prompt.token_ids(self._tokenizer) if self._tokenizer else prompt.text,
            "stop": [*END_OF_TURN, *sampling.stop],
            # The marks of a mode may be special tokens of the vocabulary; they must arrive, and without added spaces.
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            **sampling_body(sampling),
        }


def _text(choice: Mapping[str, Any]) -> str:
    text = choice.get("text")
    return text if isinstance(text, str) else ""


def _nothing(done: bool) -> str:
    return ""
