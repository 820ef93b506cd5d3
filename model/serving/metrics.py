"""What a server says of itself at /metrics, in Prometheus' text format: vLLM, SGLang and llama-server.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/. The names are those of vLLM 0.32
(vllm/v1/metrics/loggers.py), SGLang (docs.sglang.io, production metrics) and llama.cpp (tools/server/README.md).
"""

from __future__ import annotations

import asyncio
import math
import re
import sys
import time
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field

from model.engine import Engine, EngineError
from model.engines.remote import RemoteEngine
from model.engines.transport import Patience, Transport

ANSWER_SECONDS = 5.0
"""How long a server may take to answer; our choice."""

_LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?\s*')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"')
_ESCAPES = {r"\n": "\n", r"\"": '"', r"\\": "\\"}
_NAMES = {
    "running": ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing"),
    "waiting": ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred"),
    "kv": (
        "vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage", "llamacpp:kv_cache_usage_ratio",
    ),
    "queries": ("vllm:prefix_cache_queries_total",),
    "hits": ("vllm:prefix_cache_hits_total",),
    "cached": ("sglang:cache_hit_rate",),
    "generated": ("vllm:generation_tokens_total", "sglang:generation_tokens_total", "llamacpp:tokens_predicted_total"),
    "preemptions": ("vllm:num_preemptions_total", "sglang:num_retracted_reqs"),
    "drafted": ("vllm:spec_decode_num_draft_tokens_total",),
    "accepted": ("vllm:spec_decode_num_accepted_tokens_total",),
}  # fmt: skip
_FIRST_TOKEN = ("vllm:time_to_first_token_seconds_bucket", "sglang:time_to_first_token_seconds_bucket")
_SHARES = frozenset({"kv", "cached"})
"""What is a share of 1, and so not added up over several engines behind one server: the fullest counts."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: a name, its labels, a value."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many observations were at most as large as each bound; both grow."""

    bounds: tuple[tuple[float, float], ...] = ()

    def since(self, before: Histogram) -> Histogram:
        """What came after `before`; all of it where the bounds are others or a counter began anew."""
        old = dict(before.bounds)
        left = [(bound, count - old.get(bound, math.nan)) for bound, count in self.bounds]
        whole = all(count >= 0 for _, count in left)
        return Histogram(tuple(left)) if whole and len(old) == len(left) else self

    @property
    def total(self) -> float:
        """All observations."""
        return self.bounds[-1][1] if self.bounds else 0.0

    def quantile(self, share: float) -> float | None:
        """The value below which `share` of the observations lie, between two bounds by the rule of three.

        As Prometheus' `histogram_quantile`: in the last, endless bucket it is its lower bound. None without any.
        """
        if not (total := self.total) > 0:
            return None
        low, before = 0.0, 0.0
        for bound, count in self.bounds:
            if count >= share * total:
                return low if math.isinf(bound) else low + (bound - low) * _part(share * total - before, count - before)
            low, before = bound, count
        return low


def _part(some: float, whole: float) -> float:
    return some / whole if whole > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What one reading holds, at `at` seconds of a clock that only runs forward."""

    at: float
    values: dict[str, float]
    first_token: Histogram = Histogram()

    def grown(self, name: str, before: Counts | None) -> float | None:
        """By how much a counter grew; since its start where it began anew, or nothing was read before."""
        now = self.values.get(name)
        if now is None or before is None:
            return now
        old = before.values.get(name, 0.0)
        return now - old if now >= old else now


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    """A server's state; None where it does not say.

    `kv` (of the KV cache that is taken), `hit_rate` (of the prefix cache, in tokens) and `acceptance` (of speculated
    tokens) are shares of 1. The last two, and `first_token` (seconds, the median and the 95th percentile), are of the
    time since the reading before where anything came in it, else since the server's start, as `preemptions` are.
    `tokens_per_second` takes two readings.
    """

    program: str = ""
    running: int | None = None
    waiting: int | None = None
    kv: float | None = None
    hit_rate: float | None = None
    tokens_per_second: float | None = None
    first_token: tuple[float, float] | None = None
    preemptions: int | None = None
    acceptance: float | None = None
    counts: Counts = field(default_factory=lambda: Counts(0.0, {}), repr=False, compare=False)


def parse(text: str) -> tuple[Sample, ...]:
    """The samples of a page; lines that are none are left out."""
    found = (_LINE.fullmatch(line) for line in text.split("\n") if not line.startswith("#"))
    samples = (_sample(match) for match in found if match)
    return tuple(sample for sample in samples if sample is not None)


def _sample(match: re.Match[str]) -> Sample | None:
    try:
        value = float(match[3])
    except ValueError:
        return None
    labels = {name: re.sub(r"\\.", _unescaped, text) for name, text in _LABEL.findall(match[2] or "")}
    return Sample(match[1], labels, value)


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0], match[0])


def counted(text: str, at: float) -> Counts:
    """What of a page is of use here."""
    samples = [sample for sample in parse(text) if not math.isnan(sample.value)]
    values = {}
    for name, sources in _NAMES.items():
        if found := [sample.value for sample in samples if sample.name in sources and math.isfinite(sample.value)]:
            values[name] = max(found) if name in _SHARES else min(sum(found), sys.float_info.max)
    return Counts(at, values, _histogram(sample for sample in samples if sample.name in _FIRST_TOKEN))


def _histogram(samples: Iterable[Sample]) -> Histogram:
    counts: dict[float, float] = {}
    for sample in samples:
        try:
            bound = float(sample.labels.get("le", ""))
        except ValueError:
            continue
        counts[bound] = counts.get(bound, 0.0) + sample.value
    return Histogram(tuple(sorted((bound, count) for bound, count in counts.items() if not math.isnan(bound))))


def measured(text: str, at: float, before: ServerMetrics | None = None) -> ServerMetrics:
    """What a page says, read at `at` seconds; rates are of the time since `before`."""
    now, old = counted(text, at), before.counts if before else None
    hits = _lately(now, old, "hits", "queries")
    first = now.first_token.since(old.first_token) if old else now.first_token
    first = first if first.total else now.first_token
    median, late = first.quantile(0.5), first.quantile(0.95)
    return ServerMetrics(
        program=_program(text),
        running=_whole(now.values.get("running")),
        waiting=_whole(now.values.get("waiting")),
        kv=now.values.get("kv"),
        hit_rate=now.values.get("cached") if hits is None else hits,
        tokens_per_second=_speed(now, old),
        first_token=None if median is None or late is None else (median, late),
        preemptions=_whole(now.values.get("preemptions")),
        acceptance=_lately(now, old, "accepted", "drafted"),
        counts=now,
    )


def _program(text: str) -> str:
    return next((program for program in ("vllm", "sglang", "llamacpp") if f"{program}:" in text), "")


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _lately(now: Counts, old: Counts | None, part: str, whole: str) -> float | None:
    """The share that one counter has of another since `old`; since the start where nothing came since then."""
    since = old if now.grown(whole, old) else None
    return _ratio(now.grown(part, since), now.grown(whole, since))


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _speed(now: Counts, old: Counts | None) -> float | None:
    """Tokens a second. A restart in between counts from 0, which is too little, but never negative."""
    if old is None or now.at <= old.at:
        return None
    tokens = now.grown("generated", old)
    return None if tokens is None else tokens / (now.at - old.at)


def described(found: ServerMetrics) -> list[str]:
    """What is known, a phrase each, for people."""
    phrases = []
    if found.running is not None:
        phrases.append(f"{found.running} running, {found.waiting or 0} waiting")
    if found.kv is not None:
        phrases.append(f"KV cache {found.kv:.0%} full")
    if found.hit_rate is not None:
        phrases.append(f"{found.hit_rate:.0%} of prompt tokens from the cache")
    if found.tokens_per_second is not None:
        phrases.append(f"{found.tokens_per_second:.0f} tokens/s")
    if found.first_token is not None:
        phrases.append(f"first token {found.first_token[0]:.2f} s, for 95 % under {found.first_token[1]:.2f} s")
    if found.preemptions:
        phrases.append(f"{found.preemptions} preempted for want of memory")
    if found.acceptance is not None:
        phrases.append(f"{found.acceptance:.0%} of guessed tokens right")
    return phrases


async def fetch(transport: Transport, before: ServerMetrics | None = None) -> ServerMetrics:
    """A reading over connections that are open already. Raises `EngineError` where there is none to be had."""
    text = await transport.get_text("/metrics")
    return measured(text, time.monotonic(), before)


async def read(address: str, api_key: str | None = None, before: ServerMetrics | None = None) -> ServerMetrics:
    """A reading of the server at `address`, as engines are named. Raises `EngineError`."""
    transport = Transport(address, api_key, Patience(silence=ANSWER_SECONDS, retries=0))
    try:
        return await fetch(transport, before)
    finally:
        await transport.aclose()


async def of_engine(engine: Engine, before: ServerMetrics | None = None) -> ServerMetrics | None:
    """A reading of the server behind an engine; None where there is no server, or it has no metrics."""
    if not isinstance(engine, RemoteEngine):
        return None
    try:
        return await fetch(engine.transport, before)
    except EngineError:
        return None


async def watch(address: str, api_key: str | None = None, seconds: float = 2.0) -> AsyncGenerator[ServerMetrics, None]:
    """A reading every so many seconds, each with the rates since the one before. Raises `EngineError`."""
    transport = Transport(address, api_key, Patience(silence=ANSWER_SECONDS, retries=0))
    before: ServerMetrics | None = None
    try:
        while True:
            before = await fetch(transport, before)
            yield before
            await asyncio.sleep(seconds)
    finally:
        await transport.aclose()
