"""The store of a teacher's rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assistant.errors import UserError
from training.teachers.scoring import PART, fill
from training.teachers.store import About, Said, Store

ABOUT = About(teacher="big", revision="1", tokenizer="h", top=3)


class Counting:
    """A teacher that says the tokens behind each, and counts the texts it read."""

    about = ABOUT

    def __init__(self) -> None:
        self.read = 0

    def said(self, texts):
        self.read += len(texts)
        return [self.of(ids) for ids in texts]

    @staticmethod
    def of(ids):
        top = np.array([[token, token + 1, token + 2] for token in ids[:-1]], np.int32).reshape(-1, 3)
        return Said(top, (-top / 7).astype(np.float16))


def test_what_is_put_in_comes_out_bit_for_bit_also_from_another_process_of_it(tmp_path: Path):
    texts = [tuple(range(n, 2 * n)) for n in range(1, PART + 9)]
    assert fill(Store(tmp_path, ABOUT), Counting(), texts, lambda line: None, lambda: False)
    store = Store(tmp_path, ABOUT)
    for text in texts:
        found, wanted = store.get(text), Counting.of(text)
        assert found is not None
        assert found.top.tolist() == wanted.top.tolist()
        if len(text) > 1:
            assert found.logp.tobytes() == wanted.logp.tobytes()
    assert store.get((1, 2, 3, 4)) is None


def test_it_goes_on_where_it_was_stopped_and_asks_of_nothing_twice(tmp_path: Path):
    texts = [(n, n + 1) for n in range(3 * PART)]
    looks = iter([False, True])
    assert not fill(Store(tmp_path, ABOUT), Counting(), texts, lambda line: None, lambda: next(looks))
    (tmp_path / "part-000007.unfinished").write_bytes(b"half")
    teacher = Counting()
    assert fill(Store(tmp_path, ABOUT), teacher, texts + texts[:9], lambda line: None, lambda: False)
    assert teacher.read == 2 * PART
    assert len(Store(tmp_path, ABOUT)) == 3 * PART


def test_processes_add_to_one_store_side_by_side(tmp_path: Path):
    first, second = Store(tmp_path, ABOUT, rank=0), Store(tmp_path, ABOUT, rank=1)
    for store, text in ((first, (1, 2)), (second, (3, 4)), (first, (5, 6))):
        store.add([(text, Counting.of(text))])
    both = Store(tmp_path, ABOUT)
    assert all(text in both for text in ((1, 2), (3, 4), (5, 6)))
    both.add([((7, 8), Counting.of((7, 8)))])
    assert len(Store(tmp_path, ABOUT)) == 4


def test_it_is_of_one_teacher_and_one_tokenizer(tmp_path: Path):
    Store(tmp_path, ABOUT)
    with pytest.raises(UserError, match="a model with another tokenizer than the one that is trained"):
        Store(tmp_path, replace(ABOUT, tokenizer="other"))
    with pytest.raises(UserError, match="differs in revision, top; name another folder"):
        Store(tmp_path, replace(ABOUT, revision="2", top=4))
