"""Records on disk: what is written is read again, the same bytes each time, on any file system."""

from __future__ import annotations

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from model.format import Mode, ThinkRequest, ToolCall
from model.prompt import Message, ToolSpec
from training.data.flow import shards
from training.data.schema import (
    Function,
    Preference,
    Provenance,
    Sample,
    Source,
    Tags,
    Task,
    Votes,
    as_line,
    content_id,
    record_of,
)

_TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
_CALLS = st.lists(
    st.builds(ToolCall, _TEXT, st.dictionaries(_TEXT, _TEXT | st.integers() | st.lists(_TEXT), max_size=2), _TEXT),
    max_size=2,
).map(tuple)
_MESSAGES = st.lists(st.builds(Message, st.sampled_from(["user", "tool"]), _TEXT, _CALLS), max_size=3).map(tuple)
_SAMPLES = st.builds(
    Sample,
    id=_TEXT,
    family=_TEXT,
    mode=st.sampled_from(Mode),
    messages=_MESSAGES,
    answer=_TEXT,
    provenance=st.builds(Provenance, _TEXT),
    calls=_CALLS,
    tools=st.just((ToolSpec("read", "reads", {"type": "object"}),)),
    request=st.sampled_from(ThinkRequest),
    votes=st.builds(Votes, st.integers(0, 9), delta=st.floats(0, 1)),
    trainable=st.booleans(),
    tags=st.builds(Tags, measures=st.dictionaries(_TEXT, st.floats(allow_nan=False), max_size=2)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_SAMPLES, max_size=5), st.sampled_from(["parquet", "jsonl"]), st.integers(1, 3))
def test_what_is_written_is_read_and_the_same_records_are_the_same_bytes(samples, form, rows):
    first = shards.write(samples, "memory://one", kind="sample", format=form, rows=rows)
    assert list(shards.read(Sample, "memory://one")) == samples
    again = shards.write(samples, "memory://two", kind="sample", format=form, rows=rows)
    assert again == first
    assert [as_line(sample) for sample in samples] == list(shards.read_lines("sample", "memory://two"))


def test_every_kind_survives_parquet(tmp_path):
    for record in (
        Source("toolz", "/src", "sha256:1", functions=(Function("a.py", "f", 1, 2, ("t",)),), lines={"a.py": (1, 2)}),
        Task(content_id("task", "x"), "mutation", "1 is not 2", Provenance("toolz"), fail_to_pass=("a", "b")),
    ):
        kind = type(record).__name__.lower()
        shards.write([record], tmp_path / kind, kind=kind)
        assert list(shards.read(type(record), tmp_path / kind)) == [record]


def test_a_smaller_run_leaves_nothing_of_a_larger_one(tmp_path):
    tasks = [Task(str(number), "question", "", Provenance("s")) for number in range(5)]
    shards.write(tasks, tmp_path, kind="task", format="jsonl", rows=1)
    shards.write(tasks[:2], tmp_path, kind="task", rows=1)
    assert list(shards.read(Task, tmp_path)) == tasks[:2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "manifest.json",
        "part-00000.parquet",
        "part-00001.parquet",
    ]


def test_a_changed_shard_and_a_wrong_kind_are_noticed(tmp_path):
    shards.write([Task("1", "question", "", Provenance("s"))], tmp_path, kind="task", format="jsonl")
    with pytest.raises(UserError, match="kind task; sample is needed"):
        list(shards.read(Sample, tmp_path))
    (tmp_path / "part-00000.jsonl").write_bytes(b"")
    with pytest.raises(UserError, match="not the shard that its manifest names"):
        list(shards.read(Task, tmp_path))
    with pytest.raises(UserError, match="is not there"):
        list(shards.read(Task, tmp_path / "nowhere"))


def test_a_run_that_died_while_writing_leaves_no_whole_folder(tmp_path):
    def dying():
        yield Task("1", "question", "", Provenance("s"))
        raise KeyboardInterrupt

    shards.write([Task("0", "question", "", Provenance("s"))], tmp_path, kind="task")
    with pytest.raises(KeyboardInterrupt):
        shards.write(dying(), tmp_path, kind="task", rows=1)
    assert shards.manifest_of(tmp_path) is None


def test_a_newer_record_is_refused():
    line = as_line(Preference("p", (), *_replies(), Provenance("s"))).replace('"version": 1', '"version": 99')
    with pytest.raises(UserError, match="update KAT Pilot"):
        record_of(Preference, line)


def test_object_stores_need_no_rename():
    shards.write([Task("1", "question", "", Provenance("s"))], "memory://bucket/data", kind="task")
    assert "/bucket/data/manifest.json" in fsspec.filesystem("memory").ls("/bucket/data", detail=False)


def _replies():
    sample = Sample("s", "f", Mode.OFF, (), "yes", Provenance("s"))
    return sample.reply, sample.reply
