"""A tiny update, to see that torch computes here, and how fast."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from assistant.doctor.finding import Finding
from model.serving.hardware.devices import find_machine

SIZE = 1_024
SECONDS = 0.3
"""How long a speed is measured; with the size, our choice."""


def tried() -> Iterator[Finding]:
    """What torch computes on, an update of a small net, and the speed of products in both precisions."""
    yield computes(len(find_machine().gpus))
    yield update()
    yield speed()


def computes(gpus: int) -> Finding:
    """Whether torch uses the GPUs that the machine has."""
    if torch.cuda.is_available():
        return Finding("torch", True, f"{torch.__version__} on {torch.cuda.get_device_name(0)}")
    if not gpus:
        return Finding("torch", True, f"{torch.__version__} on the CPU")
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPUs"
    change = "install the build for your driver: https://pytorch.org/get-started/locally"
    return Finding("torch", False, f"{torch.__version__}, {built}, can use none of the {gpus} GPUs here", change)


def update() -> Finding:
    """Five updates by AdamW must lower the loss."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.SiLU(), torch.nn.Linear(64, 16))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    inputs, targets = torch.randn(64, 32), torch.randint(0, 16, (64,))
    losses = []
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(net(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    ok = losses[-1] < losses[0]
    return Finding("update", ok, f"torch {torch.__version__}: loss {losses[0]:.2f} to {losses[-1]:.2f} in five updates")


def speed() -> Finding:
    """Products of two matrices, in bf16 and in fp32, with the threads that torch takes."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half, full = (_operations(dtype, device) for dtype in (torch.bfloat16, torch.float32))
    words = f"{half / 1e9:,.0f} GFLOP/s in bf16, {full / 1e9:,.0f} in fp32 with {torch.get_num_threads()} threads"
    slow = half < full
    return Finding("speed", None if slow else True, words, 'set model.dtype = "float32"' if slow else None)


def _operations(dtype: torch.dtype, device: str) -> float:
    one = torch.randn(SIZE, SIZE, device=device).to(dtype)
    torch.mm(one, one)
    began, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < SECONDS:
        torch.mm(one, one).sum().item()
        count += 1
    return count * 2 * SIZE**3 / spent
