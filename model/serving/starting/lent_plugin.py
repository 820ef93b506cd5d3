"""KAT's parsers for a vLLM in an environment where KAT Pilot is not installed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import model

_NAME = "kat_pilot_parsers-0.dist-info"
_FILES = {
    "METADATA": "Metadata-Version: 2.1\nName: kat-pilot-parsers\nVersion: 0\n",
    "entry_points.txt": "[vllm.general_plugins]\nkat = model.serving.plugin:register\n",
}


def lent_plugin(folder: Path, *, write: bool = True) -> Path:
    """A folder below `folder` that vLLM finds the plugin in, by PYTHONPATH; without `write` only its name.

    It holds a link to our package `model` and no other: the packages beside it may not suit that environment.
    """
    place = folder / "plugin"
    if not write:
        return place
    (place / _NAME).mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in _FILES.items():
        (place / _NAME / name).write_text(text, "utf-8")
    link, ours = place / "model", Path(next(iter(model.__path__)))
    if not link.exists() or link.readlink() != ours:
        with suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(ours)
    return place
