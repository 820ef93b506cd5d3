"""A model of two layers with random weights, always the same, and a batch of random examples."""

from __future__ import annotations

import random
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.examples import Example, Place

VOCABULARY = 256


def tiny_llama(*, tied: bool = True, seed: int = 0, **changes: Any) -> Any:
    """A causal LM in fp32, in one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        **sizes, num_key_value_heads=2, vocab_size=VOCABULARY, tie_word_embeddings=tied, pad_token_id=0, **changes
    )
    return LlamaForCausalLM(config)


def random_examples(count: int, seed: int = 0, shortest: int = 8, longest: int = 40) -> list[Example]:
    """Examples whose later half carries loss: a judge of a few tokens, then an answer."""
    draw = random.Random(seed)
    return [_example(number, draw.randint(shortest, longest), draw) for number in range(count)]


def _example(number: int, length: int, draw: random.Random) -> Example:
    ids = tuple(draw.randrange(1, VOCABULARY) for _ in range(length))
    half, judged = length // 2, length // 2 + max(1, length // 8)
    places = (Place.PROMPT,) * half + (Place.JUDGE,) * (judged - half) + (Place.ANSWER,) * (length - judged)
    return Example(f"e{number}", ids, tuple(place != Place.PROMPT for place in places), places)
