"""Turns a GGUF into safetensors with its tokenizer: a program of its own, for the Python that has torch.

    python gguf_to_safetensors.py MODEL.gguf FOLDER

It imports nothing of ours, since that Python need not have us.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(file: Path, out: Path) -> None:
    """Write the model, in bf16, and its tokenizer into `out`."""
    import accelerate  # noqa: F401  transformers asks for both too late, and in other words
    import gguf  # noqa: F401
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    packed = {"gguf_file": file.name, "quantization_config": GgufConfig(dequantize=True), "dtype": torch.bfloat16}
    model = AutoModelForCausalLM.from_pretrained(str(file.parent), **packed)
    # What was read still remembers its packing, and would be saved with it.
    plain = type(model)(model.config).to(torch.bfloat16)
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(out)
    AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
