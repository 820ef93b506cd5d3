"""Folders of a run: gone when it ends, and when whoever made them was killed, at a later start."""

import os
import subprocess
import sys
from pathlib import Path

from assistant.safety.confinement.private import private_folder, remove_abandoned

HOLDING = """
from assistant.safety.confinement.private import private_folder
with private_folder() as folder:
    (folder / "deep").mkdir(mode=0o500)
    print(folder, flush=True)
    input()
"""


def test_what_a_killed_program_left_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    (tmp_path / "precious/file").mkdir(parents=True)
    (tmp_path / "kat-run-link").symlink_to("precious")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        remove_abandoned(tmp_path, age=0)
        assert (folder / "deep").is_dir()
        holder.kill()
    remove_abandoned(tmp_path)
    assert folder.is_dir(), "it is too young to be judged"
    remove_abandoned(tmp_path, age=0)
    assert not folder.exists()
    assert (tmp_path / "kat-run-link/file").is_dir()


def test_a_folder_lasts_as_long_as_its_run() -> None:
    with private_folder() as folder:
        (folder / "closed").mkdir(mode=0)
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
