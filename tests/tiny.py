"""A tiny model of random numbers with a tokenizer whose tokens are bytes, for tests that need torch and no sense."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

NEEDS_TORCH = pytest.mark.skipif(
    not all(map(find_spec, ("torch", "transformers", "llguidance"))),
    reason="torch, transformers or llguidance is not installed; they come with the extras train and serve-cpu",
)
Merges = Sequence[tuple[str, str]]
"""Pairs of tokens that are one, in the order in which they are put together."""
ENDS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def make_model(
    folder: Path, *, layers: int = 2, hidden: int = 32, context: int = 8192, seed: int = 0, merges: Merges = ()
) -> Path:
    """A Llama of that size in `folder`, as transformers saves it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=make_tokenizer(folder, merges), hidden_size=hidden, intermediate_size=2 * hidden,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context,
        tie_word_embeddings=True, eos_token_id=258 + len(merges), bos_token_id=None, pad_token_id=256 + len(merges),
        initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_tokenizer(folder: Path, merges: Merges = ()) -> int:
    """A tokenizer.json with a token for each byte, those that are merged, and the control tokens of ChatML; how many
    tokens that is."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {"".join(pair): len(vocabulary) + number for number, pair in enumerate(merges)}
    tokenizer = Tokenizer(models.BPE(vocabulary, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(end, special=True) for end in ENDS])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=ENDS[-1])
    wrapped.save_pretrained(folder)
    return len(wrapped)
