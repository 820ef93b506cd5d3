"""Patches in the form that SWE-bench's evaluation reads: one record an instance, as JSON lines or as one list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from assistant.tasks.storing import alone, append_line, as_line, put, read_lines

_KEYS = ("instance_id", "model_name_or_path", "model_patch")


class Predictions:
    """A file of predictions: a list where its name ends in `.json`, else lines. Others' records in it stay.

    `model` is what the patches are said to be by.

    Raises:
        UserError: the file is there and holds something else.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path = path
        self._model = model
        self._listed = path.suffix == ".json"
        self._read()

    def add(self, instance: str, patch: str) -> None:
        """Keep the patch for an instance, in place of one that is there; the file is whole at every moment.

        Several processes may add to the same file.

        Raises:
            UserError: it cannot be written.
        """
        record = dict(zip(_KEYS, (instance, self._model, patch), strict=True))
        with alone(self._path):
            records = self._read()
            before = records.get(instance)
            records[instance] = record
            if self._listed and record != before:
                put(self._path, (json.dumps(list(records.values()), indent=1) + "\n").encode())
            elif before is None:
                append_line(self._path, record)
            elif record != before:
                put(self._path, b"".join(map(as_line, records.values())))

    def _read(self) -> dict[str, dict[str, Any]]:
        records = _list_in(self._path) if self._listed else list(read_lines(self._path))
        for record in records:
            if not isinstance(record, dict) or not isinstance(record.get("instance_id"), str):
                raise UserError(f"{self._path} holds something else than predictions; name another file")
        return {record["instance_id"]: record for record in records}


def _list_in(path: Path) -> list[Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, list):
        raise UserError(f"{path} holds something else than a list of predictions; name another file")
    return data
