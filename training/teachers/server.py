"""A teacher behind vLLM's HTTP interface: `prompt_logprobs` of texts that are sent as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import httpx2
import numpy as np

from assistant.errors import UserError
from training.teachers.across import beginning
from training.teachers.store import About, Said, probe

PATIENCE = 600.0
"""Seconds that a long text may take on a busy server; our choice."""


class ServerTeacher:
    """The model that a vLLM server runs; `top` must not be above the server's ``--max-logprobs``.

    `tokenizer` is the hash of the student's. Raises UserError where the server does not answer.
    """

    def __init__(self, url: str, top: int, tokenizer: str, transport: Any = None, key: str = "") -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        base = url.rstrip("/").removesuffix("/v1")
        self._http = httpx2.Client(base_url=base, headers=headers, timeout=PATIENCE, transport=transport)
        self._url = url
        (served, *_) = self._asked("GET", "/v1/models")["data"]
        self._name = str(served["id"])
        self.about = About(teacher=self._name, revision=str(served.get("root") or ""), tokenizer=tokenizer, top=top)

    def cuts_alike(self, ids: Sequence[int]) -> bool:
        """Whether it splits the text of `probe` into these tokens."""
        return list(self._tokenized(probe())["tokens"]) == list(ids)

    def cut(self, text: str) -> tuple[list[int], list[str]]:
        """The tokens of a text: their ids, and as its vocabulary writes them."""
        found = self._tokenized(text)
        if found["tokens"] and not found.get("token_strs"):
            raise UserError(f"{self._url} does not tell how its tokens are written; serve it with a newer vLLM")
        return list(found["tokens"]), list(found.get("token_strs") or ())

    def likely(self, ids: Sequence[int]) -> list[float]:
        """The log-probability of each token but the first, given all before it and the beginning that it expects."""
        whole = [*self._beginning, *ids]
        pairs = zip(whole[1:], self._prompt_logprobs(whole, 1)[1:], strict=True)
        return [float(row[str(token)]["logprob"]) for token, row in pairs][len(self._beginning) :]

    @cached_property
    def _beginning(self) -> list[int]:
        plain, marked = (self._tokenized(probe(), marked=marked)["tokens"] for marked in (False, True))
        return beginning(plain, marked)

    def _tokenized(self, text: str, *, marked: bool = False) -> Any:
        ask = {"model": self._name, "prompt": text, "add_special_tokens": marked, "return_token_strs": True}
        return self._asked("POST", "/tokenize", ask)

    def said(self, texts: Sequence[Sequence[int]]) -> list[Said]:
        """What it says of each text."""
        return [self._said(text) for text in texts]

    def _said(self, ids: Sequence[int]) -> Said:
        rows = self._prompt_logprobs(ids, self.about.top)
        ranked = [_ranked(row, self.about.top) for row in rows[1:]]
        shape = (len(ranked), self.about.top)
        top = np.array([[token for token, _ in row] for row in ranked], np.int32).reshape(shape)
        return Said(top, np.array([[logp for _, logp in row] for row in ranked], np.float16).reshape(shape))

    def _prompt_logprobs(self, ids: Sequence[int], most: int) -> list[Mapping[str, Mapping[str, Any]]]:
        """The `most` likeliest tokens at each place of a text, and the one that stands there; of the first, nothing."""
        asked = {"model": self._name, "prompt": list(ids), "max_tokens": 1, "temperature": 0.0}
        found = self._asked("POST", "/v1/completions", asked | {"prompt_logprobs": most})
        rows: list[Mapping[str, Mapping[str, Any]]] | None = found["choices"][0].get("prompt_logprobs")
        if not rows or len(rows) != len(ids):
            raise UserError(f"{self._url} gave no prompt_logprobs; it must be a vLLM server, or name the model itself")
        return rows

    def _asked(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx2.HTTPError as error:
            raise UserError(f"the teacher at {self._url} does not answer ({error}); start it, or correct it") from None
        if answer.status_code != httpx2.codes.OK:
            hint = f"; serve it with -- --max-logprobs {self.about.top}" if "logprobs" in answer.text else ""
            raise UserError(f"the teacher at {self._url} refused {path}: {answer.text[:300]}{hint}")
        return answer.json()


def _ranked(row: Mapping[str, Mapping[str, Any]], top: int) -> list[tuple[int, float]]:
    """The likeliest tokens of a position; vLLM adds the text's own where it is not among them."""
    found = sorted(((int(token), float(about["logprob"])) for token, about in row.items()), key=lambda one: -one[1])
    return found[:top]
