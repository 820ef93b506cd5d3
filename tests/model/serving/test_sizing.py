"""Plans: the published figures of the 40B, what does not fit, and what holds of any model on any machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.architecture import Architecture
from model.catalog import CATALOG, CatalogEntry, resolve
from model.serving.fitting.footprint import Batch, Split, overhead, token_bytes, weight_bytes
from model.serving.fitting.sizing import USEFUL, plan
from model.serving.hardware.devices import asked_machine
from model.serving.plan import GIB, DoesNotFit, Gpu, Machine, Plan, Runner, Wish

KAT = CATALOG["KAT-V1-40B"]
WITHOUT = Machine(memory=32.0, cores=8)


def planned(gpus: str, entry: CatalogEntry = KAT, **wish: object) -> Plan:
    return plan(entry, asked_machine(gpus), Wish(**wish))  # type: ignore[arg-type]


def about(number: float) -> object:
    return pytest.approx(number, rel=0.05)


@pytest.mark.parametrize(
    ("gpus", "model", "quantization", "tensor", "weights", "tokens"),
    [
        ("h100:1", "KAT-V1-40B", "fp8", 1, 39.2, 95_000),
        ("h100:2", "KAT-V1-40B", None, 2, 75.6, None),
        ("h200:1", "KAT-V1-40B", None, 1, 75.6, None),
        ("l40s:1", "KAT-V1-40B-AWQ", "awq", 1, 22.2, 62_000),
        ("rtx5090:1", "KAT-V1-40B-AWQ", "awq", 1, 22.2, None),
    ],
)
def test_the_40b_goes_where_it_fits(
    gpus: str, model: str, quantization: str | None, tensor: int, weights: float, tokens: int | None
) -> None:
    found = planned(gpus)
    assert (found.model.name, found.quantization, found.tensor_parallel) == (model, quantization, tensor)
    assert found.runner is Runner.VLLM
    assert found.weights == about(weights)
    assert tokens is None or found.kv_tokens == about(tokens)
    assert 0.9 * found.kv_tokens >= found.context >= USEFUL
    assert any("320 KiB of cache" in line for line in found.lines)
    assert any(f"= {found.weights:.1f} GiB" in line for line in found.lines)


def test_an_fp8_cache_holds_twice_the_tokens() -> None:
    assert planned("h100:1", kv_dtype="fp8").kv_tokens == pytest.approx(2 * planned("h100:1").kv_tokens, abs=32)


@pytest.mark.parametrize("machine", [asked_machine("rtx4090:1"), WITHOUT], ids=["24 GB", "none"])
def test_where_the_40b_does_not_fit_it_says_what_would(machine: Machine) -> None:
    with pytest.raises(DoesNotFit, match=r"KAT-V1-40B (does not fit|needs a GPU)") as caught:
        plan(KAT, machine)
    assert any("KAT-V1-40B-AWQ on l40s:1" in line for line in caught.value.instead)
    assert any(line.startswith("HiPO-8B here") for line in caught.value.instead)
    assert any("GGUF of 16 to 18 GiB" in line for line in caught.value.instead)
    assert any(line.startswith("weights") for line in caught.value.lines)
    assert "\n" not in str(caught.value)


def test_less_is_proposed_before_other_hardware() -> None:
    with pytest.raises(DoesNotFit) as caught:
        planned("l40s:1", users=40)
    assert caught.value.instead[0].startswith("KAT-V1-40B-AWQ here for one user")


def test_more_users_make_it_take_a_smaller_build() -> None:
    one, many = planned("h100:1"), planned("h100:1", users=8)
    assert (one.kv_dtype, many.kv_dtype) == ("auto", "fp8")
    assert many.users >= 8
    assert many.kv_tokens >= 8 * USEFUL


def test_layers_go_over_nodes_only_where_one_is_too_small() -> None:
    large = CATALOG["KAT-Dev-72B-Exp"]
    assert (planned("l40s:2x2", large).tensor_parallel, planned("l40s:2x2", large).pipeline_parallel) == (2, 2)
    assert planned("h100:4x2", large).pipeline_parallel == 1
    assert planned("h100:8x2", large, pipeline_parallel=2, data_parallel=1).pipeline_parallel == 2


def test_an_unknown_packing_counts_as_16_bits_and_is_never_packed_again() -> None:
    strange = replace(KAT, name="strange", quantization="tomorrow")
    found = planned("h100:2", strange)
    assert (found.quantization, found.weights) == ("tomorrow", about(75.6))
    assert any("not known here" in line for line in found.lines)
    with pytest.raises(DoesNotFit):
        planned("h100:1", strange)
    with pytest.raises(DoesNotFit, match="no build in awq"):
        planned("h100:2", CATALOG["KAT-Dev-32B"], quantization="awq")


def test_memory_that_others_use_is_left_to_them() -> None:
    taken = Machine((Gpu("X", 80.0, fp8=True, free=60.0),), "NVML")
    found = plan(KAT, taken)
    assert found.memory_share == 0.75
    assert found.kv_tokens < planned("h100:1").kv_tokens


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish(tensor_parallel=3), "40 attention heads cannot be divided by 3"),
        (Wish(tensor_parallel=5), "8 key and value heads"),
        (Wish(tensor_parallel=4), "4 GPUs are asked for and there are 2"),
        (Wish(users=0), "users is 0"),
        (Wish(context=200_000), "131,072 tokens at most"),
        (Wish(kv_dtype="int2"), "no KV cache type"),
        (Wish(quantization="zip"), "no quantization 'zip'"),
        (Wish(memory_share=1.5), "share of memory"),
    ],
)
def test_wishes_that_cannot_be_are_one_sentence(wish: Wish, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan(KAT, asked_machine("h100:2"), wish)


def test_small_models_in_main_memory() -> None:
    nano = CATALOG["nano"]
    file, weights = plan(nano, WITHOUT), plan(nano, WITHOUT, Wish(runner=Runner.VLLM_CPU))
    assert (file.runner, file.context, file.quantization) == (Runner.LLAMA, 8_192, "gguf")
    assert (weights.runner, weights.kv) == (Runner.VLLM_CPU, 1.0)
    assert weights.weights == pytest.approx(134_515_008 * 2 / GIB)
    wide = plan(nano, replace(WITHOUT, bits=32), Wish(runner=Runner.VLLM_CPU, users=8))
    assert (wide.weights, wide.kv_dtype) == (2 * weights.weights, "float32")
    assert wide.kv_tokens == pytest.approx(wide.kv * GIB / (2 * 30 * 3 * 64 * 4), abs=1)
    assert any("32 bits" in line for line in wide.lines)
    assert plan(nano, replace(WITHOUT, bits=32)).lines == file.lines
    small = plan(CATALOG["HiPO-8B"], replace(WITHOUT, bits=32, memory=24.0))
    assert (small.machine.bits, small.kv_dtype) == (16, "auto"), "slowly rather than not at all"
    asked = Wish(runner=Runner.VLLM_CPU, quantization="bf16")
    assert plan(CATALOG["HiPO-1.7B"], replace(WITHOUT, bits=32), asked).machine.bits == 16
    assert plan(CATALOG["HiPO-1.7B"], WITHOUT).runner is Runner.VLLM_CPU
    with pytest.raises(DoesNotFit, match="too little"):
        plan(CATALOG["HiPO-8B"], replace(WITHOUT, memory=12.0))


def test_a_gguf_file_stays_in_main_memory_unless_vllm_is_asked_for() -> None:
    nano, card = CATALOG["nano"], asked_machine("h100:1")
    assert plan(nano, card).runner is Runner.LLAMA
    asked = plan(nano, card, Wish(runner=Runner.VLLM))
    assert (asked.runner, asked.quantization, asked.context) == (Runner.VLLM, None, 8_192)
    with pytest.raises(DoesNotFit, match="into main memory"):
        plan(nano, replace(card, memory=0.3))


def test_all_parts_of_a_gguf_file_count(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"big-0000{number}-of-00003.gguf").write_bytes(b"." * 2**20)
    (tmp_path / "big-00001-of-00009.gguf").write_bytes(b"." * 2**20)
    entry = replace(CATALOG["nano"], path=tmp_path / "big-00001-of-00003.gguf")
    assert plan(entry, WITHOUT).weights == pytest.approx(3 / 1024)


def test_a_mixture_with_linear_attention_keeps_states_beside_tokens() -> None:
    coder = CATALOG["KAT-Coder-V2.5-Dev"]
    one, many = (planned("l40s:2", coder, users=users) for users in (1, 20))
    assert any("states of linear attention" in line for line in one.lines)
    assert many.kv < one.kv


def test_adapters_take_what_vllm_keeps_for_them() -> None:
    dense, mixed = KAT.architecture, CATALOG["KAT-Coder-V2.5-Dev"].architecture
    assert dense
    assert mixed
    one, two = (overhead(dense, Batch(0, 0), Split(gpus), 1).adapters for gpus in (1, 2))
    whole, spread = 7 * 5_120, 2 * 5_120 + 2 * 1_024 + 3 * 27_648
    assert (one, two) == (80 * 64 * 2 * (whole + spread), 80 * 64 * 2 * (whole + spread / 2))
    assert overhead(mixed, Batch(0, 0), Split(), 1).adapters > 40 * 256 * 3 * (2_048 + 512) * 64 * 2


def test_a_model_of_which_only_the_name_is_known_cannot_be_sized(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFit, match=r"give a folder with its config\.json"):
        plan(resolve("Somebody/Model-9B"), asked_machine("h100:1"))
    shape = KAT.architecture
    assert shape is not None
    assert plan(resolve("Somebody/Model-9B"), asked_machine("h100:2"), architecture=shape).weights == about(75.6)


SHAPES = st.builds(
    lambda layers, kv, groups, width, inner: Architecture(
        "Qwen2ForCausalLM", layers, kv * groups * 64, kv * groups, kv, 64, inner * 128, width * 1_000, 65_536
    ),
    st.integers(1, 60), st.sampled_from([1, 2, 4, 8]), st.integers(1, 5), st.integers(1, 60), st.integers(1, 90),
)  # fmt: skip
MEMORY = st.floats(4, 200)
COUNTS = st.sampled_from([1, 2, 3, 4, 8])


def anything(shape: Architecture) -> CatalogEntry:
    return CatalogEntry("any", "Any", "kat", 65_536, None, parameters=shape.parameters, architecture=shape)


def attempt(shape: Architecture, machine: Machine, wish: Wish) -> Plan | None:
    try:
        return plan(anything(shape), machine, wish)
    except DoesNotFit:
        return None


@settings(max_examples=60)
@given(SHAPES, MEMORY, COUNTS, st.booleans(), st.integers(1, 4))
def test_no_plan_takes_more_than_there_is(
    shape: Architecture, memory: float, count: int, fp8: bool, users: int
) -> None:
    found = attempt(shape, Machine((Gpu("X", memory, fp8=fp8),) * count, "test"), Wish(users=users))
    if found is None:
        return
    gpus = found.tensor_parallel * found.pipeline_parallel
    assert gpus <= count
    assert shape.heads % found.tensor_parallel == 0
    cache = found.kv_tokens * token_bytes(shape, found.kv_dtype) / GIB
    assert weight_bytes(shape, found.quantization) / GIB + cache <= gpus * memory * found.memory_share
    assert 0.9 * found.kv_tokens >= users * min(65_536, USEFUL)
    assert 0 < found.context <= 65_536
    assert fp8 or found.quantization != "fp8"


@settings(max_examples=60)
@given(SHAPES, MEMORY, st.floats(0, 50), COUNTS)
def test_more_memory_never_holds_less(shape: Architecture, memory: float, more: float, count: int) -> None:
    wish = Wish(quantization="none", tensor_parallel=1)
    less = attempt(shape, Machine((Gpu("X", memory),) * count, "test"), wish)
    larger = attempt(shape, Machine((Gpu("X", min(memory + more, 159.0)),) * count, "test"), wish)
    if less is None or memory + more > 159 or memory < 70 <= memory + more:
        return  # the engine takes larger steps on GPUs from 70 GiB on
    assert larger is not None
    assert larger.kv_tokens >= less.kv_tokens
    assert larger.context >= less.context
