"""What servers say of themselves: read, measured between two readings, and shown in rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine import EngineError
from model.engines.embedded import EmbeddedEngine
from model.engines.http import HttpEngine
from model.engines.scripted import ScriptedServer
from model.serving.metrics import Histogram, Sample, ServerMetrics, described, measured, of_engine, parse, read, watch
from model.serving.plan import Endpoint, Runner
from model.serving.supervision.running import Running
from model.serving.supervision.status import StatusRow, status_rows, table, watch_rows


def vllm_page(queries: int, hits: int, generated: int, quick: int, slow: int, running: int = 2) -> str:
    """As vLLM 0.32 writes it, shortened; `quick` first tokens came within 0.1 s, `slow` ones within 1 s."""
    engine = '{engine="0",model_name="kat \\"v1\\""}'
    bucket = 'vllm:time_to_first_token_seconds_bucket{engine="0",le="%s",model_name="kat"} %s'
    lines = [
        "# HELP vllm:num_requests_running Number of requests in model execution batches.",
        "# TYPE vllm:num_requests_running gauge",
        f"vllm:num_requests_running{engine} {running}.0",
        f"vllm:num_requests_waiting{engine} 1.0",
        f"vllm:kv_cache_usage_perc{engine} 0.25",
        f"vllm:prefix_cache_queries_total{engine} {queries}.0",
        f"vllm:prefix_cache_hits_total{engine} {hits}.0",
        f"vllm:prefix_cache_queries_created{engine} 1.7639e+09",
        f"vllm:generation_tokens_total{engine} {generated}.0",
        f"vllm:num_preemptions_total{engine} 3.0",
        f"vllm:spec_decode_num_draft_tokens_total{engine} 200.0",
        f"vllm:spec_decode_num_accepted_tokens_total{engine} 150.0",
        *(bucket % (bound, count) for bound, count in (("0.1", quick), ("1.0", quick + slow), ("+Inf", quick + slow))),
    ]
    return "\n".join(lines) + "\n"


SGLANG = """# TYPE sglang:token_usage gauge
sglang:num_running_reqs{model_name="kat"} 3.0
sglang:num_queue_reqs{model_name="kat"} 0.0
sglang:token_usage{model_name="kat"} 0.28
sglang:cache_hit_rate{model_name="kat"} 0.5
sglang:generation_tokens_total{model_name="kat"} 7.5e+06
sglang:time_to_first_token_seconds_bucket{le="0.5",model_name="kat"} 10
sglang:time_to_first_token_seconds_bucket{le="+Inf",model_name="kat"} 10
"""
LLAMA = "llamacpp:requests_processing 1\nllamacpp:requests_deferred 2\nllamacpp:tokens_predicted_total 90\n"


def test_a_reading_of_each_server() -> None:
    vllm = measured(vllm_page(100, 80, 10, 9, 1), 5.0)
    assert (vllm.program, vllm.running, vllm.waiting, vllm.kv) == ("vllm", 2, 1, 0.25)
    assert (vllm.hit_rate, vllm.preemptions, vllm.acceptance, vllm.tokens_per_second) == (0.8, 3, 0.75, None)
    sglang = measured(SGLANG, 5.0)
    assert (sglang.program, sglang.running, sglang.waiting, sglang.kv) == ("sglang", 3, 0, 0.28)
    assert (sglang.hit_rate, sglang.first_token) == (0.5, (0.25, 0.475))
    llama = measured(LLAMA, 5.0, measured(LLAMA.replace("90", "30"), 2.0))
    assert (llama.program, llama.running, llama.waiting, llama.tokens_per_second) == ("llamacpp", 1, 2, 20.0)
    assert measured("<html>hello</html>", 0.0) == ServerMetrics()


def test_rates_are_of_the_time_between_two_readings() -> None:
    first = measured(vllm_page(1000, 0, 500, 100, 0), 10.0)
    second = measured(vllm_page(1200, 150, 560, 100, 4), 12.0, first)
    assert (second.hit_rate, second.tokens_per_second, second.preemptions) == (0.75, 30.0, 3)
    assert second.first_token == pytest.approx((0.55, 0.955))
    began_anew = measured(vllm_page(20, 10, 40, 1, 0), 14.0, second)
    assert (began_anew.hit_rate, began_anew.tokens_per_second) == (0.5, 20.0)
    assert began_anew.first_token == pytest.approx((0.05, 0.095))
    idle = measured(vllm_page(20, 10, 40, 1, 0), 16.0, began_anew)
    assert (idle.hit_rate, idle.tokens_per_second) == (0.5, 0.0)
    assert idle.first_token == began_anew.first_token


def test_engines_behind_one_server_are_added_up() -> None:
    page = 'vllm:num_requests_running{engine="0"} 2\nvllm:num_requests_running{engine="1"} 3\n'
    page += 'vllm:kv_cache_usage_perc{engine="0"} 0.1\nvllm:kv_cache_usage_perc{engine="1"} 0.7\n'
    found = measured(page, 0.0)
    assert (found.running, found.kv) == (5, 0.7)


NAMES = st.sampled_from(["x", "vllm:num_requests_running", "_a:B9_total"])
LABELS = st.sampled_from(["le", "model_name", "_9"])
TEXTS = st.text('"\\{}, \n=#na思\u2028', max_size=12)


def written(sample: Sample) -> str:
    def escaped(text: str) -> str:
        return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

    labels = ",".join(f'{name}="{escaped(text)}"' for name, text in sample.labels.items())
    return f"{sample.name}{{{labels}}} {sample.value}"


@settings(max_examples=60)
@given(st.lists(st.builds(Sample, NAMES, st.dictionaries(LABELS, TEXTS), st.floats(allow_nan=False)), max_size=5))
def test_what_is_written_is_read(samples: list[Sample]) -> None:
    assert parse("# HELP x y\n" + "\n".join(map(written, samples)) + "\n") == tuple(samples)


PAGES = st.sampled_from([vllm_page(9, 8, 7, 6, 5), SGLANG, LLAMA])
VALUES = st.sampled_from(["1e308", "-1", "+Inf", "-Inf", "NaN", "0x9", "", "9" * 400, '"', "{", "le"])


@settings(max_examples=60)
@given(PAGES, st.lists(st.tuples(st.integers(0, 2000), VALUES | st.text(max_size=5)), max_size=8), PAGES)
def test_no_page_is_too_broken(page: str, edits: list[tuple[int, str]], before: str) -> None:
    for at, text in edits:
        page = page[:at] + text + page[at + len(text) :]
    found = measured(page, 1.0, measured(before, 0.5))
    assert all(math.isfinite(value) for value in found.counts.values.values())
    assert found.running is None or isinstance(found.running, int)
    assert all(described(found))


@settings(max_examples=60)
@given(st.lists(st.floats(0.001, 1e3), min_size=1, max_size=40), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_its_rank(seconds: list[float], share: float) -> None:
    bounds = (0.01, 0.1, 1.0, 10.0, math.inf)
    histogram = Histogram(tuple((bound, sum(one <= bound for one in seconds)) for bound in bounds))
    found = histogram.quantile(share)
    assert found is not None
    exact = sorted(seconds)[max(0, math.ceil(share * len(seconds) - 1e-9) - 1)]
    low = max((bound for bound in (0.0, *bounds) if bound < exact), default=0.0)
    high = min(bound for bound in bounds if bound >= exact)
    assert low <= found <= (high if math.isfinite(high) else low)


def pages(*texts: str) -> Callable[[object], str]:
    left = list(texts)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


BEFORE, AFTER = vllm_page(0, 0, 0, 1, 0), vllm_page(100, 40, 1000, 2, 0)


async def test_a_server_is_read_and_watched() -> None:
    async with ScriptedServer([], api_key="k", routes={"/metrics": pages(BEFORE, BEFORE, AFTER)}) as server:
        assert (await read(server.url, "k")).running == 2
        async with aclosing(watch(server.url, "k", seconds=0.01)) as readings:
            first, second = await anext(readings), await anext(readings)
        assert (first.tokens_per_second, second.hit_rate) == (None, 0.4)
        assert (second.tokens_per_second or 0) > 100
        with pytest.raises(EngineError, match="wants a key"):
            await read(server.url, None)


async def test_an_engine_without_metrics_has_none(tmp_path: Path) -> None:
    assert await of_engine(EmbeddedEngine(tmp_path / "none.gguf")) is None
    async with ScriptedServer([]) as server:
        engine = HttpEngine(server.url)
        assert await of_engine(engine) is None
        await engine.aclose()


def running(name: str, endpoint: Endpoint, stage: str = "ready") -> Running:
    return Running(name, "kat-v1", "kat", Runner.VLLM, endpoint, 1, Path("/log"), 1_000.0, stage=stage)


async def test_the_servers_of_this_machine_as_rows(socket_path: Path) -> None:
    listed = {"data": [{"id": "kat-v1"}, {"id": "sql@1a2b", "parent": "kat-v1", "root": "/adapters/sql"}]}
    routes = {
        "/metrics": pages(BEFORE, AFTER),
        "/health": lambda _: "ok",
        "/v1/models": lambda _: listed,
    }
    async with ScriptedServer([], uds=socket_path, routes=routes):
        there = running("big", Endpoint(socket=socket_path))
        gone = running("gone", Endpoint(port=9))
        rows = await status_rows([there, gone, running("new", Endpoint(port=9), "loading weights")])
    assert [row.health for row in rows] == ["healthy", "does not answer", "loading weights"]
    lines = table(rows, 1_000.0 + 3_725)
    assert lines[1].split()[:8] == ["big", "kat-v1", "1", "h", "2", "min", "healthy", "2"]
    assert "sql@1a2b" in lines[1]
    assert len({line.index("kat-v1") for line in lines[1:]}) == 1
    data = json.loads(json.dumps(rows[0].as_json()))
    assert (data["started"], data["metrics"]["hit_rate"]) == ("1970-01-01T00:16:40+00:00", 0.4)
    assert data["metrics"]["tokens_per_second"] > 100
    assert rows[1].as_json()["metrics"] is None


async def test_rows_are_watched_as_servers_come_and_go() -> None:
    there: list[Running] = []
    seen: list[list[StatusRow]] = []
    async with aclosing(watch_rows(lambda: there, seconds=0.01)) as all_rows:
        seen.append(await anext(all_rows))
        there.append(running("new", Endpoint(port=9), "starting"))
        seen.append(await anext(all_rows))
    assert [[row.name for row in rows] for rows in seen] == [[], ["new"]]
