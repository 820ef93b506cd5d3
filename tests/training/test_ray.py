"""Ray Data gives the shards that this machine gives alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.training.odd_stages import TASKS
from training.data.flow import shards
from training.data.flow.progress import Progress
from training.data.flow.running import Here, Local, run
from training.data.flow.spread import Spread
from training.data.schema import Task
from training.data.stage import Context
from training.data.tag import Tag


@pytest.mark.xdist_group("heavy")
def test_many_machines_give_the_same_bytes(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'kat-pilot[ray]'")
    context = Context(tmp_path / "cache", jobs=2)
    for name, engine in (("here", Here()), ("local", Local(2)), ("ray", Spread(2))):
        with Path(os.devnull).open("w") as quiet:
            run(Tag(), TASKS, tmp_path / name, context, chunk=10, engine=engine, progress=Progress("tag", out=quiet))
    ours = {path.name: path.read_bytes() for path in (tmp_path / "here").glob("part-*")}
    assert len(list(shards.read(Task, tmp_path / "here"))) == 40
    assert ours == {path.name: path.read_bytes() for path in (tmp_path / "ray").glob("part-*")}
    assert ours == {path.name: path.read_bytes() for path in (tmp_path / "local").glob("part-*")}
    assert (tmp_path / "here/manifest.json").read_bytes() == (tmp_path / "ray/manifest.json").read_bytes()
