"""Many replies drawn at once from the trainer's own model, with the log-probability of each token.

The prompt of a group is read once and its keys and values are shared out to the group's rows; a row that has ended
leaves the batch. What a row draws depends on its seed alone, and not on the rows beside it (but for rounding).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from training.decoding import cache_of, decoding
from training.seeds import derived

ROWS = 64
"""Replies that are drawn at once; our choice."""
_LEAVE = 4
"""Rows leave the batch when a quarter of it has ended, since taking them out copies the cache; our choice."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A reply to be drawn behind `prompt`; it begins with `forced`, which nobody draws (a mode that is prefilled)."""

    prompt: tuple[int, ...]
    forced: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """A reply as tokens, its end token among them. `own` says which the model drew; what was forced has log-prob 0."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    own: tuple[bool, ...]
    finish: Literal["stop", "length"]

    @property
    def spent(self) -> int:
        """Tokens that the model drew."""
        return sum(self.own)


class Watch(Protocol):
    """Somebody who reads a reply while it is drawn, and steps in (`training.budgets`)."""

    def feed(self, token: int, *, own: bool) -> Sequence[int]:
        """Take a token, the model's own or a forced one; the tokens that must follow it, whatever the model wants."""


Watches = Callable[[], Watch]


@dataclass(frozen=True, slots=True)
class Limits:
    """At most `tokens` drawn tokens a reply. `temperature` 0 takes the likeliest token; nothing else is cut off, as
    the trainer's log-probabilities know no top-p."""

    tokens: int = 1024
    temperature: float = 1.0


class Sampler:
    """Draws from `model`, a causal LM of transformers, plain or wrapped by peft, as its weights are at that moment.

    `ends` are the tokens that end a reply, `pad` any token. `watch` gives a new watch for each reply. `root` is the
    module that is sharded over processes as a whole, where that is one around the model.
    """

    def __init__(
        self,
        model: Any,
        ends: Collection[int],
        pad: int,
        watch: Watches | None = None,
        rows: int = ROWS,
        root: Any = None,
    ) -> None:
        self._root = root
        self._model, self._ends, self._pad, self._watch, self._rows = model, frozenset(ends), pad, watch, rows

    def draw(self, asks: Sequence[Ask], limits: Limits, seed: int = 0) -> list[Drawn]:
        """A reply to each ask, in their order. Prompts that are the same are read once."""
        return self.draw_parts([(asks, limits, seed)])[0]

    def draw_parts(self, parts: Sequence[tuple[Sequence[Ask], Limits, int]]) -> list[list[Drawn]]:
        """Draw one part after the other. Processes that share the weights of a model gather them once, so that each may
        have other parts."""
        with decoding(self._model, self._root):
            return [self._part(*part) for part in parts]

    def _part(self, asks: Sequence[Ask], limits: Limits, seed: int) -> list[Drawn]:
        by_length = sorted(range(len(asks)), key=lambda one: (len(asks[one].prompt), asks[one].prompt, one))
        found: dict[int, Drawn] = {}
        for start in range(0, len(by_length), self._rows):
            rows = [self._row(index, asks[index], limits, seed) for index in by_length[start : start + self._rows]]
            self._fill(rows, limits)
            found |= {row.index: row.drawn() for row in rows}
        return [found[index] for index in range(len(asks))]

    def _row(self, index: int, ask: Ask, limits: Limits, seed: int) -> _Row:
        random = torch.Generator().manual_seed(derived(seed, "draw", index) >> 1)
        chances = torch.rand(limits.tokens, generator=random).tolist()
        return _Row(index, ask, iter(chances), deque(ask.forced), self._watch() if self._watch else None)

    def _fill(self, rows: list[_Row], limits: Limits) -> None:
        """Draw all rows to their ends."""
        batch = _Batch(self._model, rows, self._pad)
        logits = batch.read()
        while True:
            self._step(batch, logits, limits)
            batch.drop_ended()
            if not batch.rows:
                return
            logits = batch.next()

    def _step(self, batch: _Batch, logits: torch.Tensor, limits: Limits) -> None:
        """One token for each row that goes on."""
        chances = [0.0 if row.queue or row.ended else next(row.chances) for row in batch.rows]
        tokens, logprobs = drawn(logits, torch.tensor(chances, device=logits.device), limits.temperature)
        for row, token, logprob in zip(batch.rows, tokens.tolist(), logprobs.tolist(), strict=True):
            if not row.ended:
                row.take(token, logprob, self._ends, limits.tokens)


def drawn(logits: torch.Tensor, chances: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (R,) where the cumulative probability passes `chances` (R,) in [0, 1), and their log-probabilities (R,).

    `logits` is (R, V). At temperature 0 the likeliest token, with its log-probability at temperature 1.
    """
    scores = logits.float() / (temperature or 1.0)
    likely = scores.log_softmax(-1)
    if temperature <= 0:
        tokens = scores.argmax(-1, keepdim=True)
    else:
        sums = likely.exp().cumsum(-1)
        tokens = torch.searchsorted(sums, chances.to(sums.dtype)[:, None] * sums[:, -1:], right=True)
        tokens = tokens.clamp(max=logits.shape[-1] - 1)
    return tokens[:, 0], likely.gather(-1, tokens)[:, 0]


@dataclass(slots=True)
class _Row:
    """A reply that grows. `queue` are tokens that are due."""

    index: int
    ask: Ask
    chances: Iterator[float]
    queue: deque[int]
    watch: Watch | None
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    own: list[bool] = field(default_factory=list)
    left: int = -1
    finish: Literal["stop", "length"] | None = None

    @property
    def ended(self) -> bool:
        return self.finish is not None

    def take(self, token: int, logprob: float, ends: frozenset[int], most: int) -> None:
        """The next token: what is due, else what was drawn."""
        forced = bool(self.queue)
        token = self.queue.popleft() if forced else token
        self.ids.append(token)
        self.logprobs.append(0.0 if forced else logprob)
        self.own.append(not forced)
        self.left = (most if self.left < 0 else self.left) - (not forced)
        if not forced and token in ends:
            self.finish = "stop"
        elif self.left <= 0:
            self.finish = "length"
        elif self.watch:
            self.queue.extend(self.watch.feed(token, own=not forced))

    def drawn(self) -> Drawn:
        return Drawn(tuple(self.ids), tuple(self.logprobs), tuple(self.own), self.finish or "length")


class _Batch:
    """Rows that are drawn together; `rows` are those still in it, one for each row of the cache."""

    def __init__(self, model: Any, rows: list[_Row], pad: int) -> None:
        self.rows = list(rows)
        self._model, self._pad, self._cache = model, pad, cache_of(model)
        self._device = model.get_input_embeddings().weight.device
        self._positions = torch.tensor([[len(row.ask.prompt)] for row in rows], device=self._device)
        self._mask: torch.Tensor | None = None

    def read(self) -> torch.Tensor:
        """Read each prompt once; logits (R, V) behind them."""
        prompts = list(dict.fromkeys(row.ask.prompt for row in self.rows))
        width = max(map(len, prompts))
        ids = [[self._pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        self._mask = None if mask.all() else mask.to(self._device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0).to(self._device)
        logits = self._forward(torch.tensor(ids, device=self._device), positions)
        where = {prompt: number for number, prompt in enumerate(prompts)}
        chosen = torch.tensor([where[row.ask.prompt] for row in self.rows], device=self._device)
        self._select(chosen, len(prompts))
        return logits[chosen]

    def next(self) -> torch.Tensor:
        """Read each row's last token; logits (R, V)."""
        tokens = [[self._pad if row.ended else row.ids[-1]] for row in self.rows]
        if self._mask is not None:
            self._mask = torch.cat([self._mask, self._mask.new_ones((len(self.rows), 1))], -1)
        logits = self._forward(torch.tensor(tokens, device=self._device), self._positions)
        self._positions = self._positions + 1
        return logits

    def drop_ended(self) -> None:
        """Take rows that have ended out, if they are many."""
        going = [number for number, row in enumerate(self.rows) if not row.ended]
        if going and (len(self.rows) - len(going)) * _LEAVE < len(self.rows):
            return
        kept = torch.tensor(going, dtype=torch.long, device=self._device)
        if going:
            self._select(kept, len(self.rows))
            self._positions = self._positions[kept]
        self.rows = [self.rows[number] for number in going]

    def _select(self, rows: torch.Tensor, there: int) -> None:
        if rows.tolist() == list(range(there)):
            return
        self._cache.batch_select_indices(rows)
        if self._mask is not None:
            self._mask = self._mask[rows]
            if self._mask.all():
                self._mask = None

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        found = self._model(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = found.logits[:, -1]
        return logits
