"""How prompts and replies lie in the rows that a model reads: unpadded, and a prompt once for all of its replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from training.attending import sees_everything
from training.examples import IGNORED

ORDER = "order"
"""The column that tells where a row of an update stood before it was shuffled."""


@dataclass(frozen=True, slots=True)
class Given:
    """Rows as TRL has them: prompts padded on the left, and replies of `keep` tokens padded on the right.

    `ids` and `mask` are (B, prompt + `keep`).
    """

    ids: Tensor
    mask: Tensor
    keep: int

    @property
    def edge(self) -> int:
        """Where replies begin."""
        return int(self.ids.shape[1]) - self.keep

    @property
    def prompts(self) -> Tensor:
        """(B,): the tokens of each prompt."""
        return self.mask[:, : self.edge].sum(-1)

    @property
    def replies(self) -> Tensor:
        """(B, `keep`): 1 where a token of the reply stands."""
        return self.mask[:, self.edge :]

    def targets(self, own: Tensor | None) -> Tensor:
        """(B, `keep`): the tokens of replies that count, by `own` (B, `keep`); else -100."""
        counts = self.replies if own is None else self.replies * own
        return torch.where(counts.bool(), self.ids[:, self.edge :], IGNORED)

    def twins(self) -> list[list[int]]:
        """The rows of each prompt."""
        found: dict[tuple[int, ...], list[int]] = {}
        for row, (ids, mask) in enumerate(zip(self.ids.tolist(), self.mask.tolist(), strict=True)):
            prompt = tuple(token for token, there in zip(ids[: self.edge], mask[: self.edge], strict=True) if there)
            found.setdefault(prompt, []).append(row)
        return list(found.values())


class Layout(Protocol):
    """Where the tokens of given rows lie in those that the model reads, (R, T)."""

    def attention(self) -> dict[str, Any]:
        """What a model is called with."""

    def targets(self, own: Tensor | None) -> Tensor:
        """(R, T): the next token where it is one that counts, by `own` (B, keep); else -100."""

    def completions(self, values: Tensor) -> Tensor:
        """Values (R, T) at the positions that predict, as those of the replies' tokens (B, keep); 0 for padding."""


def laid_out(given: Given, documents: Tensor | None, config: Any) -> Layout:
    """The layout that costs least: a prompt is shared where it has several replies, and the attention allows it.

    `documents` (B, keep) tells the turns of episodes apart.
    """
    turns = documents if documents is not None and bool((documents > 0).any()) else None
    attention = str(getattr(config, "_attn_implementation", ""))
    if turns is None and attention == "sdpa" and sees_everything(config):
        twins = given.twins()
        if len(twins) < len(given.ids):
            return Shared.of(given, twins)
    return Aligned.of(given, turns, flat="flash" in attention)


@dataclass(frozen=True, slots=True)
class Aligned:
    """Each row for itself, moved to the left edge, so that causal attention needs no mask for the padding.

    `ids` (B, L) are the tokens and `order` (B, L) where they were. Of the turns in `documents` positions restart with
    each; `flat`: kernels for packed sequences tell them apart in one row only.
    """

    given: Given
    ids: Tensor
    order: Tensor
    documents: Tensor | None
    flat: bool

    @classmethod
    def of(cls, given: Given, documents: Tensor | None = None, flat: bool = False) -> Aligned:
        """From given rows."""
        longest = int(given.mask.sum(-1).max())
        steps = torch.arange(longest, device=given.ids.device)
        order = (steps + (given.edge - given.prompts)[:, None]) % given.ids.shape[1]
        return cls(given, given.ids.gather(1, order), order, documents, flat)

    def attention(self) -> dict[str, Any]:
        """Tokens and positions."""
        positions = torch.arange(self.ids.shape[1], device=self.ids.device).expand_as(self.ids)
        if self.documents is not None:
            where = self._moved(self.documents, 0)
            starts = torch.zeros_like(where, dtype=torch.bool)
            starts[:, 1:] = where[:, 1:] != where[:, :-1]
            positions = positions - torch.where(starts, positions, 0).cummax(-1).values
        ids = self.ids
        if self.flat:
            ids, positions = ids.reshape(1, -1), positions.reshape(1, -1)
        return {"input_ids": ids, "position_ids": positions, "use_cache": False}

    def targets(self, own: Tensor | None) -> Tensor:
        """As a layout has them."""
        return pad(self._moved(self.given.targets(own), IGNORED)[:, 1:], (0, 1), value=IGNORED)

    def completions(self, values: Tensor) -> Tensor:
        """As a layout has them."""
        steps = torch.arange(self.given.keep, device=self.ids.device) - 1
        place = (self.given.prompts[:, None] + steps).clamp(0, self.ids.shape[1] - 1)
        return values.view_as(self.ids).gather(1, place) * self.given.replies

    def _moved(self, values: Tensor, before: int) -> Tensor:
        """Values (B, keep) of the replies as those of the rows (B, L); `before` in prompts."""
        return pad(values, (self.given.edge, 0), value=before).gather(1, self.order)


@dataclass(frozen=True, slots=True)
class Shared:
    """A row for each prompt: the prompt but for its last token, then behind one another its replies, each begun by that
    token, from which its first is predicted. A reply sees the prompt and itself.

    `rows` and `starts` (B,) say where each reply lies, `segments` (R, T) which reply a token is of: 0 the prompt's
    own, from 1 on replies, -1 padding.
    """

    given: Given
    ids: Tensor
    positions: Tensor
    segments: Tensor
    rows: Tensor
    starts: Tensor

    @classmethod
    def of(cls, given: Given, twins: Sequence[Sequence[int]]) -> Shared:
        """From given rows and those of each prompt."""
        lines, prompts, lengths = given.ids.tolist(), given.prompts.tolist(), given.replies.sum(-1).tolist()
        where: dict[int, tuple[int, int]] = {}
        columns: tuple[list[list[int]], ...] = ([], [], [])
        for row, members in enumerate(twins):
            before = prompts[members[0]] - 1
            ids = lines[members[0]][given.edge - 1 - before : given.edge - 1]
            positions, segments = list(range(before)), [0] * before
            for number, member in enumerate(members, 1):
                where[member] = row, len(ids)
                reply = lines[member][given.edge - 1 : given.edge + lengths[member]]
                ids += reply
                positions += range(before, before + len(reply))
                segments += [number] * len(reply)
            for column, values in zip(columns, (ids, positions, segments), strict=True):
                column.append(values)
        fillers = (lines[0][given.edge - 1], 0, -1)
        made = (_table(column, filler, given.ids) for column, filler in zip(columns, fillers, strict=True))
        places = given.ids.new_tensor([where[row] for row in range(len(lines))])
        return cls(given, *made, *places.T)

    def attention(self) -> dict[str, Any]:
        """Tokens, positions, and a mask (R, 1, T, T) of what each sees."""
        mine, theirs = self.segments[:, :, None], self.segments[:, None, :]
        steps = torch.arange(self.ids.shape[1], device=self.ids.device)
        seen = ((theirs == 0) | (theirs == mine)) & (steps[None, :] <= steps[:, None])
        return {
            "input_ids": self.ids, "position_ids": self.positions, "attention_mask": seen[:, None], "use_cache": False,
        }  # fmt: skip

    def targets(self, own: Tensor | None) -> Tensor:
        """As a layout has them."""
        found = torch.full_like(self.ids, IGNORED)
        there = self.given.replies.bool()
        found[self._rows()[there], self._places()[there]] = self.given.targets(own)[there]
        return found

    def completions(self, values: Tensor) -> Tensor:
        """As a layout has them."""
        return values[self._rows(), self._places().clamp(max=self.ids.shape[1] - 1)] * self.given.replies

    def _rows(self) -> Tensor:
        return self.rows[:, None].expand(-1, self.given.keep)

    def _places(self) -> Tensor:
        """(B, keep): the positions that predict each token of the replies."""
        return self.starts[:, None] + torch.arange(self.given.keep, device=self.ids.device)


def in_order(batches: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Micro-batches of an update with their rows in the order of their column `ORDER`."""
    order = torch.cat([batch[ORDER] for batch in batches]).argsort()
    found: list[dict[str, Any]] = [dict(batch) for batch in batches]
    for name, value in batches[0].items():
        if not isinstance(value, Tensor) or value.dim() == 0:
            continue
        parts = torch.cat([batch[name] for batch in batches])[order].split([len(batch[name]) for batch in batches])
        for batch, part in zip(found, parts, strict=True):
            batch[name] = part
    return found


def _table(rows: Sequence[Sequence[int]], filler: int, like: Tensor) -> Tensor:
    width = max(map(len, rows))
    return like.new_tensor([[*row, *[filler] * (width - len(row))] for row in rows])
