"""Runs of stages: the same bytes however they are cut, stopped and begun again, and whatever dies."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.errors import UserError
from model.format import Mode
from tests.training.odd_stages import TASKS, Count, Odd
from training.data.flow import shards
from training.data.flow.chunks import Parts, Row, row_of
from training.data.flow.progress import Progress
from training.data.flow.reporting import read_report
from training.data.flow.running import Here, Local, Saving, run
from training.data.schema import Provenance, Sample, Task, as_line
from training.data.stage import Context


def _silent(stage="odd", total=None):
    return Progress(stage, total, out=Path(os.devnull).open("w"))


def _run(stage, out, tmp_path, tasks=TASKS, **how):
    return run(stage, tasks, out, Context(tmp_path / "cache", jobs=2), progress=_silent(), **{"engine": Here(), **how})


def _bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".parquet", ".jsonl")}


def test_any_chunking_and_any_processes_give_the_same_bytes(tmp_path):
    whole = _run(Odd(), tmp_path / "whole", tmp_path, chunk=100)
    _run(Odd(), tmp_path / "small", tmp_path, chunk=3)
    _run(Odd(), tmp_path / "apart", tmp_path, chunk=7, engine=Local(2))
    assert _bytes(tmp_path / "whole") == _bytes(tmp_path / "small") == _bytes(tmp_path / "apart")
    assert whole.read == 40
    assert whole.written == len(list(shards.read(Task, tmp_path / "whole"))) > 20
    assert sum(whole.refused.values()) == len((tmp_path / "whole/refused.jsonl").read_text().splitlines()) > 3


@settings(max_examples=8, deadline=None)
@given(most=st.integers(1, 60), first=st.integers(1, 60), chunk=st.integers(1, 50))
def test_most_cuts_by_order_whatever_was_known_before(tmp_path_factory, most, first, chunk):
    tmp_path = tmp_path_factory.mktemp("most")
    _run(Odd(), tmp_path / "all", tmp_path)
    _run(Odd(), tmp_path / "some", tmp_path, chunk=chunk, saving=Saving(most=first))
    report = _run(Odd(), tmp_path / "some", tmp_path, chunk=chunk, saving=Saving(most=most))
    everything = list(shards.read(Task, tmp_path / "all"))
    assert list(shards.read(Task, tmp_path / "some")) == everything[:most]
    assert report.written == min(most, len(everything))


def test_what_kills_a_process_or_fails_is_refused_and_nothing_else(tmp_path):
    dies, raises = TASKS[11].id, TASKS[12].id
    report = _run(Odd(dies=(dies,), raises=(raises,)), tmp_path / "out", tmp_path, chunk=8, engine=Local(2))
    refused = {}
    for line in (tmp_path / "out/refused.jsonl").read_text().splitlines():
        refused[json.loads(line)["id"]] = json.loads(line)
    assert report.refused["crashed"] == 2
    assert refused[dies]["detail"] == "the process that worked on it was killed by signal 9, twice"
    assert refused[raises]["detail"].startswith("the stage failed on it: ValueError in odd_stages.py, line")
    _run(Odd(), tmp_path / "calm", tmp_path)
    calm = [task for task in shards.read(Task, tmp_path / "calm") if task.id not in (dies, raises)]
    assert list(shards.read(Task, tmp_path / "out")) == calm


def test_a_complaint_ends_the_run(tmp_path):
    for engine in (Here(), Local(1)):
        with pytest.raises(UserError, match="no sandbox here"):
            _run(Odd(complains=(TASKS[5].id,)), tmp_path / "out", tmp_path, engine=engine)


def test_whole_stages_see_everything_once(tmp_path):
    report = _run(Count(), tmp_path / "out", tmp_path, chunk=3, engine=Local(2))
    assert [task.answer for task in shards.read(Task, tmp_path / "out")][-1] == "40 of 40"
    assert _run(Count(), tmp_path / "out", tmp_path).reused == report.read == 40


def test_a_broken_part_counts_as_absent(tmp_path):
    before = _run(Odd(), tmp_path / "out", tmp_path, chunk=10)
    broken = min((tmp_path / "out/.parts").rglob("*.part"))
    broken.write_bytes(broken.read_bytes()[:-3])
    after = _run(Odd(), tmp_path / "out", tmp_path, chunk=10)
    assert (after.digest, after.reused) == (before.digest, 30)
    assert read_report(tmp_path / "out") == after


def test_parts_give_back_what_they_got(tmp_path):
    parts, rows = Parts(tmp_path), [Row("task", '{"a": "\u2028 b"}'), Row("refused", "{}")]
    parts.put("ab12", rows)
    parts.put("cd34", [])
    assert parts.get("ab12") == rows
    assert parts.get("cd34") == []
    assert parts.get("ef56") is None


def test_records_of_another_kind_are_refused_and_halves_of_pairs_too(tmp_path):
    sample = Sample("s", "f", Mode.OFF, (), "", Provenance("s"))
    with pytest.raises(UserError, match="takes records of the kind task, not sample"):
        _run(Odd(), tmp_path / "out", tmp_path, tasks=[sample])
    assert "half of a surrogate pair" in row_of(replace(TASKS[0], statement="\ud800")).line


_KILLED = """
import sys
from pathlib import Path
from tests.training.odd_stages import TASKS, Odd
from training.data.flow.running import Local, run
from training.data.stage import Context

if __name__ == "__main__":
    run(Odd(pause=0.02), TASKS, Path(sys.argv[1]), Context(Path(sys.argv[2]), jobs=2), chunk=2, engine=Local(2))
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(tmp_path, blow):
    script = tmp_path / "killed.py"
    script.write_text(_KILLED)
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, str(script), str(tmp_path / "out"), str(tmp_path / "cache")]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not list((tmp_path / "out").rglob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(blow)
    assert process.wait(10) != 0
    assert not (tmp_path / "out/manifest.json").exists()
    stage = Odd(pause=0.02)
    report = _run(stage, tmp_path / "out", tmp_path, chunk=2)
    undisturbed = _run(stage, tmp_path / "calm", tmp_path, chunk=2)
    assert report.reused >= 2
    assert report.digest == undisturbed.digest
    assert _bytes(tmp_path / "out") == _bytes(tmp_path / "calm")


def test_two_runs_into_one_folder_are_one_too_many(tmp_path):
    class Nosy(Here):
        def outcomes(self, stage, chunks, context):
            with pytest.raises(UserError, match="another run writes to"):
                _run(Odd(), tmp_path / "out", tmp_path)
            return super().outcomes(stage, chunks, context)

    assert _run(Odd(), tmp_path / "out", tmp_path, engine=Nosy()).read == 40


def test_far_places_keep_their_parts_in_the_cache(tmp_path):
    _run(Odd(), "memory://far/away", tmp_path)
    assert _run(Odd(), "memory://far/away", tmp_path).reused == 40
    assert [as_line(task) for task in shards.read(Task, "memory://far/away")]


def test_progress_tells_rate_and_time_left(tmp_path):
    now = iter([0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0])
    progress = Progress("odd", 100, io.StringIO(), lambda: next(now))
    progress.add(10, 8, 2, reused=True)
    progress.add(20, 15, 5)
    assert progress.line() == "odd: 30/100, 23 written, 7 refused, 2/s, 35 s left, 10 kept from before"
