"""How likely an engine finds each token of a given text, and how far two engines agree on it.

Two programs that run the same weights differ by rounding only; another adapter, quantisation or template shows at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

from model.engine import EngineRefused
from model.engines.transport import Transport

LARGEST = 1.0
"""The most that one token's log-probability may differ between two engines with the same weights, in nats.

Our choice, twice what rounding did. SmolLM2-135M in bf16, vLLM 0.32 on a CPU against transformers 5.19: of 42 to 362
tokens the largest difference was 0.13 to 0.54, the mean 0.03 to 0.06; against float32 they were the same. A token of a
text that no model would write once differed by 3.6, so texts to compare on should be ordinary ones.
"""
MEAN = 0.15
"""The most that they may differ on average; our choice, over twice what was measured. A random adapter moved it 0.3."""
MOVED = 0.01
"""How far one token must move at least for an adapter to count as active; our choice."""
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Scored:
    """A token of a text: its id, its natural log-probability, and the id that was likeliest there (-1: not known)."""

    id: int
    logprob: float
    best: int


class Scorer(Protocol):
    """Anything that tells the log-probabilities of a text."""

    async def logprobs(self, ids: Sequence[int]) -> tuple[Scored, ...]:
        """One for each of `ids` but the first, which has nothing before it. Raises `EngineError`."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two engines agree on `tokens` tokens: differences in nats, and the share with the same likeliest token.

    `against` is what it was compared with: the reference, which must agree, or the base model, which must not.
    """

    tokens: int
    largest: float
    mean: float
    same: float
    against: str = "reference"

    @property
    def ok(self) -> bool:
        """Whether that is as it should be."""
        if self.against == "base":
            return self.largest >= MOVED
        return self.largest <= LARGEST and self.mean <= MEAN

    @property
    def sentence(self) -> str:
        """What came of it, for a person."""
        figures = f"{self.tokens} log-probabilities differ by {self.mean:.3f} on average, {self.largest:.3f} at most"
        match self.against, self.ok:
            case "base", True:
                return f"the adapter is active: {figures} from the base model's"
            case "base", False:
                return f"the adapter changes nothing: {figures} from the base model's; check that it was trained"
            case _, True:
                return f"the engine agrees with the reference: {figures}"
            case _:
                return f"the engine does not agree with the reference: {figures}; check weights, adapter and dtype"


def agreement(one: Sequence[Scored], two: Sequence[Scored], against: str = "reference") -> Agreement:
    """How far `one` agrees with `two`.

    Raises:
        ValueError: they are not of the same tokens, or of none.
    """
    if not one or [token.id for token in one] != [token.id for token in two]:
        raise ValueError("log-probabilities can only be compared on the same tokens, and at least two of them")
    pairs = list(zip(one, two, strict=True))
    apart = [abs(a.logprob - b.logprob) for a, b in pairs]
    return Agreement(len(pairs), max(apart), fmean(apart), fmean(a.best == b.best for a, b in pairs), against)


class ServerScorer:
    """A server with /v1/completions that tells the log-probabilities of a prompt: vLLM, SGLang."""

    def __init__(self, transport: Transport, model: str) -> None:
        self._transport = transport
        self._model = model

    async def encode(self, text: str) -> list[int]:
        """Token ids by the server's tokenizer. Raises `EngineError`."""
        body = {"model": self._model, "prompt": text, "content": text, "add_special_tokens": False}
        tokens = (await self._transport.post_json("/tokenize", body)).get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            raise EngineRefused(f"{self._transport.name} does not tell the tokens of a text; nothing can be compared")
        return tokens

    async def logprobs(self, ids: Sequence[int]) -> tuple[Scored, ...]:
        """One for each of `ids` but the first; the server writes one more token, which is dropped."""
        body = {
            "model": self._model,
            "prompt": list(ids),
            "max_tokens": 1,
            "temperature": 0,
            "echo": True,
            "logprobs": 1,
            "prompt_logprobs": 1,
        }
        found = read_logprobs(await self._transport.post_json("/v1/completions", body), ids)
        if found is None:
            raise EngineRefused(
                f"{self._transport.name} does not tell the log-probabilities of a prompt; vLLM and SGLang do"
            )
        return found


def read_logprobs(answer: Mapping[str, Any], ids: Sequence[int]) -> tuple[Scored, ...] | None:
    """The log-probabilities in a completion's answer, in vLLM's form or that of OpenAI's `echo`; None without any."""
    match answer.get("choices"):
        case [{"prompt_logprobs": [_, *places]}, *_] if len(places) >= len(ids) - 1:
            found = [_by_id(place, token) for place, token in zip(places, ids[1:], strict=False)]
        case [{"logprobs": {"token_logprobs": [_, *values], "tokens": [_, *texts]} as told}, *_]:
            tops = told.get("top_logprobs") or []
            rows = zip(ids[1:], values, texts, [*tops[1:], *[None] * len(values)], strict=False)
            found = [_by_text(*row) for row in rows]
        case _:
            return None
    whole = [place for place in found if place is not None]
    return tuple(whole) if len(whole) == len(ids) - 1 else None


def _by_id(place: Any, token: int) -> Scored | None:
    """vLLM: `{"ID": {"logprob": …, "rank": …}}`, the token itself and the likeliest one."""
    match place:
        case dict() if isinstance(mine := place.get(str(token)), dict) and isinstance(mine.get("logprob"), int | float):
            told = {key: one.get("logprob") for key, one in place.items() if isinstance(one, dict) and key.isdecimal()}
            likely = {int(key): value for key, value in told.items() if isinstance(value, int | float)}
            return Scored(token, float(mine["logprob"]), max(likely, key=lambda key: likely[key]))
        case _:
            return None


def _by_text(token: int, value: Any, text: Any, top: Any) -> Scored | None:
    """OpenAI: texts only, so that the likeliest token is known where it is the token itself."""
    if not isinstance(value, int | float):
        return None
    best = max(top, key=lambda word: top[word]) if isinstance(top, dict) and top else None
    return Scored(token, float(value), token if best == text else _UNKNOWN)
