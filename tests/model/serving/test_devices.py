"""Hardware: found by the drivers' tools, or asked about; whatever they print, there is a machine and a reason."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.serving.hardware.devices import asked_machine, find_machine
from model.serving.hardware.gpus import TYPES, recognised
from model.serving.hardware.memory import free_memory
from model.serving.hardware.nvidia import library_gpus
from model.serving.hardware.processor import cpu_flags, emulates_bf16

SMI = (
    "NVIDIA H100 80GB HBM3, 81559, 81000, 9.0, GPU-aaaa\n"
    "NVIDIA A100-SXM4-40GB, 40960, 1024, 8.0, GPU-bbbb\n"
    "NVIDIA Future X1, 1024, 512, 12.0, GPU-cccc\n"
)
ROCM = {
    "card0": {"Card Series": "AMD Instinct MI300X OAM", "VRAM Total Memory (B)": "206141652992",
              "VRAM Total Used Memory (B)": "1073741824", "Unique ID": "0x1"},
    "system": {"Driver version": "6"},
}  # fmt: skip


def tools(**printed: str) -> Callable[[Sequence[str]], str]:
    """A run that knows these tools and no others; `fails` is a tool that exits with 1."""

    def run(command: Sequence[str]) -> str:
        name = command[0].replace("-", "_")
        if printed.get(name) == "fails":
            raise subprocess.CalledProcessError(9, command)
        if name not in printed:
            raise FileNotFoundError(command[0])
        return printed[name]

    return run


def find(environ: dict[str, str] | None = None, **printed: str):
    return find_machine(environ or {}, tools(**printed), lambda: None)


def test_nvidia_smi_with_what_is_known_of_each_type() -> None:
    machine = find(nvidia_smi=SMI)
    hopper, ampere, future = machine.gpus
    assert machine.source == "nvidia-smi"
    assert (hopper.memory, hopper.free, hopper.bandwidth, hopper.fp8) == (79.65, 79.1, 3_350, True)
    assert (ampere.memory, ampere.free, ampere.fp8) == (40.0, 1.0, False)
    assert (future.bandwidth, future.flops, future.fp8) == (None, None, True)
    assert machine.cores


def test_rocm_and_none() -> None:
    machine = find(rocm_smi=json.dumps(ROCM))
    assert [(gpu.memory, gpu.free, gpu.fp8, gpu.bandwidth) for gpu in machine.gpus] == [(191.98, 190.98, True, 5_300)]
    assert machine.source == "ROCm"
    newer = {"asic": {"market_name": "AMD Instinct MI325X"}, "vram": {"size": {"value": 262128, "unit": "MB"}}}
    for printed in ([newer], {"gpu_data": [newer]}):
        (card,) = find(amd_smi=json.dumps(printed), rocm_smi="not asked").gpus
        assert (card.memory, card.free, card.bandwidth) == (255.98, None, 6_000)
    assert find().gpus == ()
    assert find().source == "none found"


@pytest.mark.parametrize(
    ("visible", "free"),
    [("1", [1.0]), ("1,0", [1.0, 79.1]), ("GPU-bb", [1.0]), ("", []), ("-1", []), ("0,9,1", [79.1])],
)
def test_what_the_environment_hides_is_not_there(visible: str, free: list[float]) -> None:
    machine = find({"CUDA_VISIBLE_DEVICES": visible}, nvidia_smi=SMI)
    assert [gpu.free for gpu in machine.gpus] == free
    assert free or "hidden" in machine.source


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ({"nvidia_smi": "fails"}, "nvidia-smi fails"),
        ({"nvidia_smi": "NVIDIA-SMI has failed"}, "which is no GPU"),
        ({"nvidia_smi": "X, [N/A], [N/A], 9.0"}, "which is no GPU"),
        ({"nvidia_smi": "X, nan, 1, 9.0"}, "which is no GPU"),
        ({"rocm_smi": "WARNING"}, "does not list cards"),
        ({"amd_smi": "fails"}, "amd-smi fails"),
        ({"amd_smi": '{"gpu_data": [{"asic": {}}]}'}, "amd-smi does not list cards"),
        ({"amd_smi": "7"}, "amd-smi does not list cards"),
        ({"rocm_smi": '{"card0": 3}'}, "does not list cards"),
        ({"rocm_smi": '{"card0": {"Card Series": "MI300X"}}'}, "does not list cards"),
    ],
)
def test_malformed_output_is_no_gpu_and_a_reason(printed: dict[str, str], reason: str) -> None:
    machine = find(**printed)
    assert machine.gpus == ()
    assert reason in machine.source


@given(st.text(max_size=80), st.text(max_size=80))
def test_whatever_tools_print_there_is_a_machine(nvidia: str, amd: str) -> None:
    machine = find(nvidia_smi=nvidia, amd_smi=amd)
    assert machine.source
    assert all(gpu.memory > 0 for gpu in machine.gpus)


def nvml(**changes: object) -> SimpleNamespace:
    """NVML with one GPU, as nvidia-ml-py has it."""
    functions = {
        "NVMLError": RuntimeError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=46_068 * 2**20, free=2**30),
        "nvmlDeviceGetCudaComputeCapability": lambda handle: (8, 9),
        "nvmlDeviceGetName": lambda handle: b"NVIDIA L40S",
        "nvmlDeviceGetUUID": lambda handle: "GPU-1",
    }
    return SimpleNamespace(**(functions | changes))


def no_driver() -> None:
    raise RuntimeError("driver not loaded")


def test_the_drivers_library_comes_first_and_may_be_missing_or_broken() -> None:
    found = library_gpus(lambda name: nvml())
    assert found
    assert (found[0].gpu.memory, found[0].gpu.bandwidth, found[0].gpu.fp8) == (44.99, 864, True)
    assert library_gpus(lambda name: nvml(nvmlInit=no_driver)) is None
    assert find_machine({}, tools(nvidia_smi=SMI), lambda: found).source == "NVML"


@pytest.mark.parametrize(
    ("text", "gpus", "nodes"),
    [("h100:2", 2, 1), ("2xH100", 2, 1), ("l40s", 1, 1), ("h100:8x2", 8, 2), ("4090", 1, 1), ("none", 0, 1)],
)
def test_hardware_that_is_asked_about(text: str, gpus: int, nodes: int) -> None:
    machine = asked_machine(text)
    assert (len(machine.gpus), machine.nodes, machine.source) == (gpus, nodes, "asked for")


@pytest.mark.parametrize(
    "text", ["", "h100:0", "h100:x", "h101", "2xh100:2", "h100:9999x9", "h100 2", "🙂:1", "h100:-1"]
)
def test_hardware_that_cannot_be_told_is_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no GPUs|asks for|is known") as caught:
        asked_machine(text)
    assert "\n" not in str(caught.value)


def test_every_type_is_found_by_its_own_name_only() -> None:
    names = {
        "NVIDIA H100 80GB HBM3": "h100", "NVIDIA H100 PCIe": "h100-pcie", "NVIDIA H100 NVL": "h100-nvl",
        "NVIDIA H200": "h200", "NVIDIA H20": "h20", "NVIDIA A100 80GB PCIe": "a100-80", "NVIDIA L40S": "l40s",
        "NVIDIA L40": "l40", "NVIDIA L4": "l4", "NVIDIA A10": "a10", "NVIDIA A10G": "a10g", "NVIDIA A40": "a40",
        "NVIDIA RTX A6000": "a6000", "NVIDIA RTX 6000 Ada Generation": "rtx6000ada",
        "NVIDIA GeForce RTX 4090": "rtx4090", "AMD Instinct MI325X": "mi325x",
    }  # fmt: skip
    assert {name: found.key for name in names if (found := recognised(name))} == names
    assert all(recognised(each.title) == each for each in TYPES)
    for other in ("Matrox G200", "NVIDIA GH200 480GB", "NVIDIA GeForce RTX 4090 Laptop GPU"):
        assert recognised(other) is None


def test_free_main_memory_is_what_a_container_leaves(tmp_path: Path) -> None:
    proc = tmp_path / "meminfo"
    proc.write_text("MemTotal: 100 kB\nMemAvailable: 8388608 kB\n")
    assert free_memory(proc, tmp_path) == 8.0
    (tmp_path / "memory.max").write_text(f"{3 * 2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**30}\n")
    assert free_memory(proc, tmp_path) == 2.0
    (tmp_path / "memory.stat").write_text(f"anon 7\ninactive_file {2**29}\nactive_file 9\n")
    assert free_memory(proc, tmp_path) == 2.5
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(proc, tmp_path) == 8.0


@pytest.mark.parametrize(
    ("text", "emulated"),
    [
        ("flags : fpu avx2 fma", True), ("flags : avx2 avx512_bf16", False), ("x : y\nflags : amx_bf16 avx2", False),
        ("Features : asimd bf16", False), ("", False),
    ],
)  # fmt: skip
def test_bf16_is_emulated_where_the_flags_are_known_and_name_no_units_for_it(
    tmp_path: Path, text: str, emulated: bool
) -> None:
    place = tmp_path / "cpuinfo"
    assert not emulates_bf16(cpu_flags(place)), "nothing is known there"
    place.write_text(f"processor : 0\n{text}\n")
    assert emulates_bf16(cpu_flags(place)) is emulated
    assert find().bits == (32 if emulates_bf16(cpu_flags()) else 16)
