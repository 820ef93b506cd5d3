"""Samples for other programs: messages as chat templates take them, and text in stretches with and without loss."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from model.prompt import Dialect, Message
from training.data.masking import masked
from training.data.schema import Sample


def exported(samples: Iterable[Sample], dialect: Dialect) -> Iterator[str]:
    """One JSON object a line: ``messages`` with the reply, ``tools``, ``text``, and ``segments`` of [text, loss]; what
    may be trained on is of the ``split`` train and ``trainable``."""
    for sample in samples:
        stretches = masked(sample, dialect)
        reply = Message("assistant", dialect.write(sample.reply))
        row = {
            "id": sample.id,
            "split": sample.split,
            "trainable": sample.trainable,
            "messages": [_message(message) for message in (*sample.messages, reply)],
            "tools": [tool.as_openai() for tool in sample.tools],
            "text": "".join(stretch.text for stretch in stretches),
            "segments": [[stretch.text, stretch.carries_loss] for stretch in stretches],
        }
        yield json.dumps(row, ensure_ascii=False)


def _message(message: Message) -> dict[str, Any]:
    calls = [{"type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in message.calls]
    return {"role": message.role, "content": message.content, **({"tool_calls": calls} if calls else {})}
