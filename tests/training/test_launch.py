"""What starts many processes: accelerate's configuration and the batch script, as those who read them see them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from training.commands.reading import read
from training.launch import accelerate, commands, slurm

yaml = pytest.importorskip("yaml", reason="PyYAML reads back what is written")
RUN = Path("/shared/my runs/one")


def recipe(name, *sets):
    return read(Path(name), sets).recipe


@pytest.mark.parametrize("name", ["hipo-8b", "kat-dev-32b-lora", "kat-40b"])
def test_accelerate_reads_the_configuration(name):
    found = yaml.safe_load(accelerate.config(recipe(name)))
    where = recipe(name).hardware
    assert (found["num_processes"], found["num_machines"]) == (where.processes, where.nodes)
    assert found["mixed_precision"] == "bf16"
    assert found["fsdp_config"]["fsdp_version"] == 2
    assert recipe(name).model.checkpointing
    assert found["fsdp_config"]["fsdp_activation_checkpointing"] is False  # the model has its own on


def test_the_keys_are_those_of_accelerate():
    """Its own classes refuse a key that they do not know; what FSDP is told is read as options of its launcher."""
    root = find_spec("accelerate").submodule_search_locations[0]
    known = Path(root, "commands/config/config_args.py").read_text()
    launcher = Path(root, "commands/launch.py").read_text()
    for key, value in yaml.safe_load(accelerate.config(recipe("kat-dev-32b-lora"))).items():
        assert f"    {key}: " in known, key
        if isinstance(value, dict):
            for option in value:
                assert f'"--{option}"' in launcher, option


def test_gpus_that_serve_do_not_train():
    found = yaml.safe_load(accelerate.config(recipe("kat-dev-32b-lora")))
    assert found["gpu_ids"] == "0,1,2,3,4,5"
    script = slurm.script(recipe("kat-dev-32b-lora"), RUN, "1.2.3")
    assert "export CUDA_VISIBLE_DEVICES=6,7" in script
    assert "--tensor-parallel 2 -- --max-lora-rank 64" in " ".join(script.split())


@pytest.mark.parametrize("name", ["kat-dev-32b-lora", "kat-40b"])
def test_shellcheck_finds_nothing(name, tmp_path):
    tool = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if tool is None:
        pytest.skip("the linter of shell scripts is not there")
    script = tmp_path / slurm.FILE
    script.write_text(slurm.script(recipe(name), RUN, "1.2.3"))
    command = [tool, "--severity=info", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""


_STAND_INS = {
    "scontrol": 'for n in $(seq "$NODES"); do echo "node$n"; done',
    "srun": """
        for word in "$@"; do case "$word" in --ntasks=*) count=${word#*=} ;; esac; done
        while [ "$1" != bash ]; do shift; done
        for ((task = 0; task < count; task++)); do SLURM_NODEID=$task "$@" || exit; done
        exit "${CODE:-0}" """,
    "accelerate": """
        while [ -n "${AWAITED:-}" ] && [ ! -s "$OUT/$AWAITED" ]; do sleep 0.05; done
        printf "%s\\0" "$TORCH_ELASTIC_SHUTDOWN_TIMEOUT" "$DO_NOT_TRACK" > "$OUT/settings"
        printf "%s\\0" "$@" > "$OUT/node$SLURM_NODEID" """,
    "kat": 'printf "%s\\0" "$CUDA_VISIBLE_DEVICES" "$@" > "$OUT/server"; exec sleep 20',
}


def ran(folder, script, nodes=1, **more):
    """What each node and the server were called with, and the exit code of the job."""
    tools, out, env = (folder / name for name in ("tools", "out", "env/bin"))
    for place in (tools, out, env):
        place.mkdir(parents=True)
    for name, body in _STAND_INS.items():
        (tools / name).write_text(f"#!/bin/bash\n{body}\n")
        (tools / name).chmod(0o755)
    (env / "activate").write_text(f'PATH="{tools}:$PATH"\n')
    environ = {
        "PATH": f"{tools}:/usr/bin:/bin", "HOME": str(folder), "OUT": str(out), "KAT_ENV": str(env.parent),
        "SLURM_JOB_NODELIST": "node[1-9]", "NODES": str(nodes), **more,
    }  # fmt: skip
    done = subprocess.run(["bash"], input=script, env=environ, capture_output=True, text=True, timeout=20, check=False)
    return {file.name: file.read_text().split("\0")[:-1] for file in out.iterdir()}, done


def test_each_node_starts_its_part_and_meets_at_the_first(tmp_path):
    small = recipe("kat-40b", "hardware.nodes=3", "distill.batch=9999999", "rl.prompts=240")
    tasks, done = ran(tmp_path, slurm.script(small, RUN, "1.2.3"), nodes=3)
    assert done.returncode == 0, done.stderr
    assert set(tasks) == {"node0", "node1", "node2", "settings"}
    assert tasks["settings"] == [str(slurm.GRACE), "1"], "torch kills those that save after 30 s by default"
    for rank in range(3):
        words = tasks[f"node{rank}"]
        assert words[:3] == ["launch", "--config_file", f"{RUN}/accelerate.yaml"]
        assert words[words.index("--machine_rank") + 1] == str(rank)
        assert words[words.index("--main_process_ip") + 1] == "node1"
        assert words[-3:] == ["--module", "training.launch.worker", str(RUN)]


def test_the_server_starts_beside_and_ends_with_the_job_whose_code_counts(tmp_path):
    script = slurm.script(recipe("kat-dev-32b-lora"), tmp_path, "1.2.3")
    tasks, done = ran(tmp_path, script, CODE="7", AWAITED="server")
    assert done.returncode == 7, done.stderr
    assert tasks["server"][:4] == ["6,7", "serve", "start", "KAT-Dev-32B"]


def test_directives_say_what_the_job_takes():
    one = recipe("kat-40b", "hardware.partition=big")
    lines = slurm.script(one, RUN, "1").splitlines()
    for wanted in ("nodes=16", "gpus-per-node=8", "partition=big", "signal=B:TERM@600", "ntasks-per-node=1"):
        assert f"#SBATCH --{wanted}" in lines
    assert "#SBATCH --exclusive" in lines


def test_files_are_written_beside_the_recipe_only_where_there_are_several_processes(tmp_path):
    assert commands.write(recipe("in-house"), tmp_path, "1") == ()
    files = commands.write(recipe("hipo-8b"), tmp_path, "1")
    assert [file.name for file in files] == ["accelerate.yaml", "job.slurm"]
    assert all(file.is_file() for file in files)
    assert commands.shown(commands.words(RUN)).startswith("python -m accelerate.commands.launch --config_file '/shared")
    assert commands.within({"WORLD_SIZE": "2"})
    assert not commands.within({})
