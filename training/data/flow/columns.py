"""Records as Parquet columns: which type a field has on disk follows from the record's class alone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from assistant.errors import UserError
from model.prompt import Message
from training.data.schema import KINDS

_GROUP = 2_000
"""Rows of a row group; our choice: a reader of one holds some megabytes."""
_LEVEL = 3
"""Of zstd: its own default."""
_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string()), ("calls", pa.string())])
_PLAIN = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


@dataclass(frozen=True, slots=True)
class _Column:
    """A field's type on disk, and how its JSON value gets there and back."""

    type: pa.DataType
    to: Callable[[Any], Any]
    back: Callable[[Any], Any]


def parquet(lines: list[str], kind: str) -> bytes:
    """One Parquet file of records that are lines of JSON; the same lines give the same bytes."""
    columns = _columns(kind)
    rows = [json.loads(line) for line in lines]
    arrays = [pa.array([column.to(row[name]) for row in rows], column.type) for name, column in columns.items()]
    table = pa.Table.from_arrays(arrays, schema=pa.schema([(name, column.type) for name, column in columns.items()]))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=_LEVEL, row_group_size=_GROUP)
    return sink.getvalue()


def lines_of(data: bytes, kind: str) -> Iterator[str]:
    """The records of a Parquet file, as lines of JSON.

    Raises:
        UserError: it is no Parquet file of this kind.
    """
    columns = _columns(kind)
    try:
        batches = pq.ParquetFile(pa.BufferReader(data)).iter_batches(_GROUP)
        for batch in batches:
            known = {name: columns[name] for name in batch.schema.names}
            for row in batch.to_pylist():
                whole = {name: column.back(row[name]) for name, column in known.items()}
                yield json.dumps(whole, ensure_ascii=False)
    except (pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"this is no Parquet file of records of the kind {kind}: {error}") from None


@cache
def _columns(kind: str) -> dict[str, _Column]:
    hints = get_type_hints(KINDS[kind])
    return {field.name: _column(hints[field.name]) for field in fields(KINDS[kind])}


def _column(hint: Any) -> _Column:
    if hint in _PLAIN:
        return _Column(_PLAIN[hint], _same, _same)
    if get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, Enum)):
        return _Column(pa.string(), _same, _same)
    match get_origin(hint), get_args(hint):
        case origin, (item, *_) if origin is tuple and item is str:
            return _Column(pa.list_(pa.string()), _same, _same)
        case origin, (item, *_) if origin is tuple and item is Message:
            return _Column(pa.list_(_MESSAGE), _messages, _messages_back)
    return _Column(pa.string(), _text, json.loads)


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**message, "calls": _text(message["calls"])} for message in messages]


def _messages_back(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**message, "calls": json.loads(message["calls"])} for message in messages]
