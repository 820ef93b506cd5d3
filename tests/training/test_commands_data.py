"""`kat train data`: stages by themselves, recipes, and a look at what came of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.commands.registry import run
from assistant.errors import Exit
from model.format import Mode
from model.prompt import Message
from training import recipe as recipes
from training.commands.data import app
from training.data.flow import shards
from training.data.schema import Provenance, Sample, Tags, Task, as_line, content_id
from training.data.stages import STAGES


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KAT_CACHE", str(tmp_path / "cache"))


_DIFF = """--- a/a.py
+++ b/a.py
@@ -1,2 +1,2 @@
 def f(total, fee):
-    return total + fee
+    return total - fee
"""


def _tasks(folder, count=6):
    tasks = [_task(number) for number in range(count)]
    shards.write(tasks, folder, kind="task", format="jsonl")
    return str(folder)


def _task(number):
    statement = (
        f"`f({number})` gives {number + 1}, and should not." if number % 3 else "Put `return total - fee` there."
    )
    return Task(
        content_id("task", str(number)), "mutation", statement, Provenance("s", path="a.py"), licence="MIT",
        solution=_DIFF,
    )  # fmt: skip


def _samples(folder):
    off = Sample("s", "question", Mode.OFF, (Message("user", "6 * 7?"),), "42", Provenance("toolz"), judge="Easy.")
    off = replace(off, tags=Tags(difficulty="hard"))
    on = replace(off, mode=Mode.ON, think="Hm.")
    samples = [replace(off if number % 4 else on, id=f"s{number}") for number in range(8)]
    shards.write(samples, folder, kind="sample")
    return str(folder)


def test_a_stage_by_itself(tmp_path, capsys):
    where = _tasks(tmp_path / "tasks")
    command = ["train", "data", "leaks", "--from", where, "--out", str(tmp_path / "out"), "--jobs", "0", "--json"]
    assert run(command) == Exit.DONE
    report = json.loads(capsys.readouterr().out)
    assert (report["read"], report["written"], report["refused"]) == (6, 4, {"leak": 2})
    assert len(list(shards.read(Task, tmp_path / "out"))) == 4
    assert len((tmp_path / "out/refused.jsonl").read_text().splitlines()) == 2
    assert run([*command[:-1], "--most", "1", "--format", "jsonl"]) == Exit.DONE
    assert "leaks" in capsys.readouterr().out
    assert len((tmp_path / "out/part-00000.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["mutat"], "No such command 'mutat'. Did you mean"),
        (["leaks", "--out", "x"], "Missing option '--from'"),
        (["leaks", "--from", "nowhere", "--out", "nothing"], "nowhere is not there"),
        (["tag", "--from", "nowhere", "--out", "nothing", "--set", "sed=1"], "has no 'sed'; did you mean 'seed'?"),
        (
            ["tag", "--from", "nowhere", "--out", "nothing", "--set", "seed=one"],
            "cannot be 'one': it is a whole number",
        ),
        (["run", "nowhere.toml"], "there is no recipe nowhere.toml"),
        (["run", "nano-dta"], "did you mean 'nano-data'?"),
        (["run", "nano-data", "--set", "engine=bogus"], "'bogus' is no engine"),
        (["hashes", "ours", "nowhere"], "nowhere cannot be read"),
        (["run", "nano-data", "--set", "stages.mix.siez=1"], "[stages.mix] has no 'siez'; did you mean 'size'?"),
        (["preview", "nowhere"], "nowhere is not there"),
        ([], "kat train data needs one of run"),
    ],
)
def test_mistakes_name_what_to_do(words, sentence, capsys):
    assert run(["train", "data", *words]) == Exit.BAD_INPUT
    assert sentence in capsys.readouterr().err
    assert not Path("nothing").exists()


def test_wrong_records_are_refused_by_kind(tmp_path, capsys):
    where = _samples(tmp_path / "samples")
    assert run(["train", "data", "leaks", "--from", where, "--out", str(tmp_path / "out")]) == Exit.BAD_INPUT
    assert "holds records of the kind sample; task is needed here" in capsys.readouterr().err


def test_a_file_is_read_as_what_it_holds_and_named_where_it_is_broken(tmp_path, capsys):
    _samples(tmp_path / "samples")
    command = ["train", "data", "scrub", "--out", str(tmp_path / "out"), "--jobs", "0", "--from"]
    assert run([*command, str(tmp_path / "samples/part-00000.parquet")]) == Exit.DONE
    assert len(list(shards.read(Sample, tmp_path / "out"))) == 8
    (tmp_path / "broken.jsonl").write_text(as_line(_task(1)) + '\n{"id": 1}\n')
    assert run([*command, str(tmp_path / "broken.jsonl")]) == Exit.BAD_INPUT
    assert f"record 2 of {tmp_path}/broken.jsonl: this is no task" in capsys.readouterr().err
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    assert run(["train", "data", "stats", str(tmp_path / "broken.parquet")]) == Exit.BAD_INPUT
    assert "broken.parquet cannot be read: this is no Parquet file" in capsys.readouterr().err


def test_help_of_a_stage_shows_its_own_options(capsys):
    assert run(["train", "data", "mix", "--help"]) == Exit.DONE
    shown = capsys.readouterr().out
    assert "off      0.652" in shown
    assert "reads   sample" in shown
    assert "`size` is how many" in shown
    assert run(["train", "data", "--help"]) == Exit.DONE
    assert "hold out by time and by module" in capsys.readouterr().out


def test_a_benchmark_of_ones_own_is_kept_out(tmp_path, capsys):
    secret = "a task of our own that nobody may ever see in any data that is trained on, whatever it is made from"
    (tmp_path / "ours.jsonl").write_text(json.dumps({"prompt": secret}) + "\n")
    made = tmp_path / "list.json"
    assert run(["train", "data", "hashes", "Ours", str(tmp_path / "ours.jsonl"), "--out", str(made)]) == Exit.DONE
    assert "nobody" not in made.read_text()
    shards.write([_task(1), replace(_task(2), statement=f"{secret}, says he.")], tmp_path / "tasks", kind="task")
    command = ["train", "data", "contamination", "--from", str(tmp_path / "tasks"), "--out", str(tmp_path / "out")]
    assert run([*command, "--jobs", "0", "--set", f'lists=["{made}"]', "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["refused"] == {"contaminated": 1}
    assert (
        run(["train", "data", "hashes", "Ours", str(made), "--out", str(tmp_path / "no/list.json")]) == Exit.BAD_INPUT
    )


def test_preview_stats_and_export(tmp_path, capsys):
    where = _samples(tmp_path / "samples")
    assert run(["train", "data", "preview", where, "--count", "2", "--mode", "on"]) == Exit.DONE
    shown = capsys.readouterr().out
    assert shown.count("question · on by regime · hard") == 2
    assert "<think>\nHm.\n</think>" in shown
    assert run(["train", "data", "stats", where]) == Exit.DONE
    assert "mode: off" in capsys.readouterr().out
    assert run(["train", "data", "stats", where, "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["by"]["mode"]["off"]["count"] == 6
    assert run(["train", "data", "export", where, "--out", str(tmp_path / "text")]) == Exit.DONE
    assert len((tmp_path / "text/samples.jsonl").read_text().splitlines()) == 8
    assert run(["train", "data", "preview", where, "--family", "questoin"]) == Exit.BAD_INPUT
    assert "has no family 'questoin'; did you mean 'question'?" in capsys.readouterr().err


def test_a_recipe_is_resolved_run_and_not_run_twice(tmp_path, capsys):
    recipe = tmp_path / "small.toml"
    folder = tmp_path / "code"
    folder.mkdir()
    shutil.copy(recipes.__file__, folder)
    recipe.write_text(
        'name = "small"\nseed = 5\n[sources]\nfolders = ["code"]\n[stages]\n'
        'questions = { each = 40 }\nanswering = { from = ["questions"] }\nmix = { from = ["answering"], size = 10 }\n'
    )
    command = ["train", "data", "run", str(recipe), "--out", str(tmp_path / "out"), "--jobs", "0"]
    assert run([*command, "--dry-run"]) == Exit.DONE
    assert "each = 40" in (resolved := capsys.readouterr().out)
    assert "off = 0.652" in resolved
    assert not (tmp_path / "out").exists()
    assert run(command) == Exit.DONE
    assert "# Data card" in capsys.readouterr().out
    assert len(list(shards.read(Sample, tmp_path / "out/mix"))) == 10
    first = (tmp_path / "out/mix/part-00000.parquet").read_bytes()
    assert run([*command, "--json"]) == Exit.DONE
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [report["stage"] for report in reports] == ["questions", "answering", "mix"]
    again = [*command[:4], "--out", str(tmp_path / "again"), "--jobs", "0"]
    assert run(again) == Exit.DONE
    assert (tmp_path / "again/mix/part-00000.parquet").read_bytes() == first
    assert (tmp_path / "out/card.md").read_text() == (tmp_path / "again/card.md").read_text()


def test_commands_are_those_of_the_table():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert names >= {name.replace("_", "-") for name in STAGES} | {"run", "preview", "stats", "export", "hashes"}


def test_nobody_else_waits_for_training():
    code = (
        "import sys; from assistant.commands.registry import run; import training.commands.data; "
        "heavy = {'pyarrow', 'fsspec', 'datasketch', 'libcst', 'ray', 'torch', 'langgraph', 'pandas', 'numpy'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    code = (
        "import sys; import assistant.commands.registry; sys.exit(any(n.startswith('training.') for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_missing_extra_is_one_sentence(tmp_path):
    code = (
        "import sys; sys.modules['pyarrow'] = None; from assistant.commands.registry import run; "
        f"sys.exit(run(['train', 'data', 'leaks', '--from', 'x', '--out', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == Exit.BAD_INPUT
    assert done.stderr.strip() == "kat: this needs pyarrow, which is not installed: pip install 'kat-pilot[train]'"
