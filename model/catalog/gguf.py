"""The shape of a model in a GGUF file, read from the file's head and nothing else.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (magic, version, counts, then named values).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from model.architecture import Architecture, architecture_of

_MAGIC = b"GGUF"
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _LIST = 8, 9
_MOST_TEXT = 1 << 20
_MOST_VALUES = 10_000
_TOKENS = "tokenizer.ggml.tokens"
_FIELDS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "feed_forward_length": "intermediate_size",
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}

Value = str | int | float | bool | None


def gguf_architecture(path: Path) -> Architecture:
    """The shape that a GGUF file states.

    Raises:
        ValueError: it is no GGUF file, or does not state one; one sentence.
    """
    try:
        with path.open("rb") as file:
            values = _values(file)
    except (struct.error, EOFError):
        raise ValueError(f"{path} is not a whole GGUF file; fetch it again") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    kind = str(values.get("general.architecture"))
    config: dict[str, object] = {name: values.get(f"{kind}.{key}") for key, name in _FIELDS.items()}
    config["vocab_size"] = config["vocab_size"] or values.get(_TOKENS)
    try:
        return architecture_of({**config, "architectures": [_CLASSES.get(kind, kind)]})
    except ValueError as error:
        raise ValueError(f"{path} does not say what shape its model has ({error})") from None


def _values(file: BinaryIO) -> dict[str, Value]:
    """The named values up to the list of tokens, of which only the length is read."""
    if file.read(4) != _MAGIC:
        raise EOFError
    _number(file, "<I")
    _number(file, "<Q")
    found: dict[str, Value] = {}
    for _ in range(min(_number(file, "<Q"), _MOST_VALUES)):
        name, kind = _text(file), _number(file, "<I")
        found[name] = _value(file, kind) if name != _TOKENS else _length(file)
        if name == _TOKENS:
            break
    return found


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _TEXT:
        return _text(file)
    if kind == _LIST:
        _skip_list(file)
        return None
    if kind not in _NUMBERS:
        raise EOFError
    return _any_number(file, _NUMBERS[kind])


def _skip_list(file: BinaryIO) -> None:
    kind, count = _number(file, "<I"), _number(file, "<Q")
    if count > _MOST_TEXT or kind not in (_TEXT, *_NUMBERS):
        raise EOFError
    for _ in range(count):
        _value(file, kind)


def _length(file: BinaryIO) -> int:
    _number(file, "<I")
    return _number(file, "<Q")


def _text(file: BinaryIO) -> str:
    size = _number(file, "<Q")
    if size > _MOST_TEXT:
        raise EOFError
    return file.read(size).decode("utf-8", "replace")


def _number(file: BinaryIO, form: str) -> int:
    return int(_any_number(file, form))


def _any_number(file: BinaryIO, form: str) -> int | float:
    value: int | float = struct.unpack(form, file.read(struct.calcsize(form)))[0]
    return value
