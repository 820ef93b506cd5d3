"""A family of questions for a tiny model with a tokenizer of characters, in KAT's format."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from model.budget import Budget
from model.dialects import dialect
from model.engines.torch_tokens import Tokens
from training.budgets import Voice, Written
from training.rewards import Score, well_formed

MARKS = (
    "\n</judge>\n\n",
    "<think_on>\n<think>\n",
    "<think_off>\n<answer>\n",
    "\n</think>\n\n<answer>\n",
    "\n</answer>",
)
CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .+=?\n<>/_,"
KAT = dialect("kat")


def tokenizer() -> PreTrainedTokenizerFast:
    """Characters, and KAT's marks as single tokens."""
    words = {character: number for number, character in enumerate(CHARACTERS)} | {"<unk>": len(CHARACTERS)}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    made.add_special_tokens([AddedToken(mark, normalized=False) for mark in (*MARKS, "<|im_end|>", "<pad>")])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", pad_token="<pad>", unk_token="<unk>")


def tiny(size: int, seed: int = 0, spread: float = 0.1) -> LlamaForCausalLM:
    """A model with random weights, whose replies vary."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=size,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        initializer_range=spread,
        eos_token_id=None,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def voice(made: PreTrainedTokenizerFast, model: Any, judge: int = 6, think: int = 8) -> Voice:
    """How replies of that model are read."""
    return Voice(Tokens(made, model.generation_config, len(made)), KAT, Budget(judge, think))


def score(task: str, written: Written) -> Score:
    """Whether the reply has the task's last character."""
    return Score(float(task[-2] in written.text), well_formed(written, KAT))
