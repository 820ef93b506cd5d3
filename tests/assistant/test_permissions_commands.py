"""What a command line runs: a table, and what real shells do with lines that were called clear."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.safety.shell.danger import destructive
from assistant.safety.shell.parsing import ShellCommand, parse
from assistant.safety.shell.patterns import all_covered, covers, patterns_for


def shown(line: str) -> str:
    """The commands of a line, an unknown part as ?; with a ! in front where some may lack."""
    parsed = parse(line)
    text = "; ".join(" ".join((*command.assigns, *command.argv)) for command in parsed.commands if command.argv)
    return ("" if parsed.complete else "! ") + text.replace("\0", "?")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("git status", "git status"),
        ("git status && rm -rf x", "git status; rm -rf x"),
        ("ls | xargs rm", "ls; rm ?"),
        ("(cd a; make) & wait", "cd a; make; wait"),
        ("{ a; b; } || c", "a; b; c"),
        ("if a; then b; elif c; then d; else e; fi", "a; b; c; d; e"),
        ("while a; do b; done; until c; do d; done", "a; b; c; d"),
        ("for f in x y; do rm $f; done", "rm ?"),
        ("case $x in a) b;; *) c;; esac", "b; c"),
        ("echo $(rm x)", "echo ?; rm x"),
        ('echo "a $(rm x) b"', "echo a ? b; rm x"),
        ("echo `rm x`", "echo ?; rm x"),
        ("echo ${x:-$(rm y)}", "echo ?; rm y"),
        ("diff <(a) <(b)", "diff ? ?; a; b"),
        ("a > >(b)", "a; b"),
        ("cat <<E\n$(rm x)\nE", "cat; rm x"),
        ("cat <<'E'\n$(rm x)\nE", "cat"),
        ("x=$(a) b", "x=$(a) b; a"),
        ("export A=1", "export A=1"),
        ("a\nb", "a; b"),
        ("a \\\n  b", "a b"),
        ("'rm' -\"rf\" x", "rm -rf x"),
        (r"\rm x", "rm x"),
        ("sudo -u me make", "sudo; make"),
        ("doas -u me make", "doas; make"),
        ("env -i A=1 make x", "A=1 make x"),
        ("env -S 'rm -rf x'", "rm -rf x"),
        ("env", "env"),
        ("command -p ls", "ls"),
        ("command -v ls", "command -v ls"),
        ("exec -a x ls", "ls"),
        ("nohup nice -n 5 ionice -c 3 setsid -w ls", "ls"),
        ("time -p x=1 ls", "x=1 ls"),
        ("timeout -k 5 10 ls", "ls"),
        ("stdbuf -oL -e 0 ls", "ls"),
        ("/usr/bin/env ls", "ls"),
        ("find . -name '*.o' -exec rm {} +", "find . -name *.o -exec rm {} +; rm ?"),
        ("find . -execdir a \\; -ok b \\;", "find . -execdir a ; -ok b ;; a; b"),
        ("sh -c 'a; b'", "a; b"),
        ("bash -euo pipefail -c \"sh -c 'a | b'\"", "a; b"),
        ("eval 'a; b' c", "a; b c"),
        ("trap 'rm x' EXIT", "rm x"),
        ("xargs -0 -I% sh -c 'rm \"$1\"' _ %", "rm ?"),
        ("watch -n 1 'a; b'", "a; b"),
        ("script -qc 'a; b' log", "script; a; b"),
        ("parallel rm {} ::: a b", "rm ?"),
        ("flock /tmp/x -c 'a; b'", "a; b"),
        ("busybox rm x", "rm x"),
        ("ssh host rm x", "ssh host rm x"),
        ("! a", "a"),
        ("$X y", "! ? y"),
        ("`echo rm` x", "! ? x; echo rm"),
        ("{rm,-rf,x} y", "! "),
        ("r\\\nm x", "! r m x"),
        ("$'\\x72m' x", "! ? x"),
        ("echo $'it\\'; rm -rf x; echo '", "! echo ?"),
        ("[[ a || rm ]]", "! "),
        ("cat <<E\n`rm x`\nE", "! cat"),
        ("echo ${x@P}", "! echo ?"),
        ("echo $((x))", "! echo ?"),
        ("export PATH=.", "! export PATH=."),
        ("LD_PRELOAD=./x ls", "! LD_PRELOAD=./x ls"),
        ("IFS=,; a", "! a"),
        (". ./x", "! . ./x"),
        ("source x", "! source x"),
        ("alias ls=rm", "! alias ls=rm"),
        ("git() { rm; }; git status", "! rm; git status"),
        ("echo rm x | sh", "! echo rm x; sh"),
        ("sh <<E\nrm\nE", "! sh"),
        ("sudo -s", "! sudo -s"),
        ("timeout --what 3 ls", "! timeout --what 3 ls"),
        ("xargs -I{} sh -c {}", "! sh -c ? ?"),
        ("eval $x", "! eval ?"),
        ("parallel", "! parallel"),
        ("git -c alias.x=!rm x", "! git -c alias.x=!rm x"),
        ("git -c core.pager=rm log", "! git -c core.pager=rm log"),
        ("git -c color.ui=never log", "git -c color.ui=never log"),
        ("git submodule foreach rm", "! git submodule foreach rm"),
        ("make SHELL=./x", "! make SHELL=./x"),
        ("make 'X=$(shell rm x)'", "! make X=$(shell rm x)"),
        ("tar --to-command=rm -xf a", "! tar --to-command=rm -xf a"),
        ("printf -v 'a[$(rm)]' x", "! printf -v a[$(rm)] x"),
        ("if a; then", "! "),
        ("git\u00a0status", "! git\u00a0status"),
        ("ls #\rrm", "! ls"),
    ],
)
def test_the_commands_of_a_line(line: str, said: str) -> None:
    found = shown(line)
    assert found.startswith(said) if said == "! " else found == said


def test_what_redirections_write_is_noted() -> None:
    line = "a > one 2>> two; b &> three < no; { c; } >| four; d 2>&1; e | tee -a five; > six"
    assert parse(line).writes == ("one", "two", "three", "four", "five", "six")


def test_long_and_deep_lines_are_unclear_and_do_no_harm() -> None:
    for line in ("$(" * 5000, "(" * 9000 + ")" * 9000, "a" * 30_000, "eval " * 50 + "rm", "\ud800", "\0", '"' * 999):
        assert not parse(line).complete


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab $(){}[]<>|&;'\"`\\\n#=*?!~-\t\0é"), max_size=40) | st.text(max_size=40))
def test_nothing_raises(line: str) -> None:
    parse(line)


SIMPLE = st.sampled_from(["alpha one", "beta -x", "gamma 'a b'"])
AROUND = [
    "env A=1 {}", "nohup {}", "timeout 5 {}", "nice -n 3 {}", "command {}", "sudo -n {}", "xargs -r {}",
    "({})", "echo $({})", 'echo "x $({}) y"', "if {}; then true; fi", "for i in 1; do {}; done", "true && {}",
    "cat <({})", "find . -exec {} \\;", "{} > out", "! {}", "{} | wc -l", "cat <<E\n$({})\nE\n",
    "while {}; do break; done",
]  # fmt: skip
PREFIXES = 7


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(SIMPLE, st.lists(st.integers(0, len(AROUND) - 1), max_size=4)), min_size=1, max_size=3))
def test_what_stands_in_wrappers_is_found(parts: list[tuple[str, list[int]]]) -> None:
    lines, wanted = [], set()
    for simple, wraps in parts:
        wanted.add(simple.split()[0])
        line = simple
        for number in sorted(wraps):
            line = AROUND[number].replace("{}", line, 1)
        lines.append(line)
    parsed = parse("\n".join(lines))
    assert wanted <= {command.program for command in parsed.commands} or not parsed.complete
    if all(max(wraps, default=0) < PREFIXES for _, wraps in parts):
        assert parsed.complete
        assert wanted <= {command.program for command in parsed.commands}


WORDS = ["alpha", "beta", "gamma", " "]
MARKS = (
    "; && || | ( ) $( ) ` \" ' \\ # $' $\" ! = x= $x ${x:- ${x# } $(( )) [[ ]] { } then fi do done ;; esac * ] - EXIT "
    "if for\vi\vin\va;\vdo case\va\vin\va) f()\v{ eval sh\v-c env time xargs find\v.\v-exec \\; trap command"
)
SPACED = [f" {mark} ".replace("\v", " ") for mark in MARKS.split(" ")]
LINES = ["\n", "\\\n", "<<E\n", "\nE\n", "<<'E'\n", ">f ", "\t"]
TOKENS = st.lists(st.sampled_from([*WORDS * 4, *SPACED, *MARKS.split(" ")[:20], *LINES]), min_size=1, max_size=12).map(
    "".join
)


@pytest.mark.parametrize("shell", [name for name in ("dash", "bash") if shutil.which(name)])
def test_a_real_shell_runs_nothing_that_was_not_seen(shell: str, tmp_path: Path) -> None:
    programs, work, log = tmp_path / "bin", tmp_path / "work", tmp_path / "log"
    programs.mkdir()
    work.mkdir()
    for name in ("alpha", "beta", "gamma"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >> {log}\n")
        (programs / name).chmod(0o755)
    for name in ("env", "xargs", "sh", "find"):
        (programs / name).symlink_to(str(shutil.which(name)))
    full = str(shutil.which(shell))

    @settings(max_examples=300, deadline=None)
    @given(TOKENS)
    def runs(line: str) -> None:
        parsed = parse(line)
        if not parsed.complete or not parsed.commands:
            return
        log.write_text("")
        quiet = subprocess.DEVNULL
        environment = {"PATH": str(programs)}
        subprocess.run(
            [full, "-c", line], cwd=work, env=environment, stdin=quiet, stdout=quiet, stderr=quiet, timeout=20
        )
        assert set(log.read_text().split()) <= {command.program for command in parsed.commands}

    runs()


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("rm -rf build", "rm"),
        ("sudo rm -fr /", "rm"),
        ("rm --recursive x", "rm"),
        ("rm $FILES", "rm"),
        ("rm -f build/*", "rm"),
        ("find . -delete", "find"),
        ("find . -exec rm {} +", "rm"),
        ("ls | xargs rm", "rm"),
        ("git clean -fdx", "git"),
        ("git -C x clean -n", "git"),
        ("mkfs.ext4 x", "mkfs.ext4"),
        ("dd if=a of=b", "dd"),
        ("chmod -R 777 .", "chmod"),
        ("rm a.txt", ""),
        ("git status", ""),
        ("find . -name x", ""),
        ("chmod +x a", ""),
    ],
)
def test_what_undo_cannot_bring_back(line: str, program: str) -> None:
    assert destructive(parse(line)) == program


@pytest.mark.parametrize(
    ("pattern", "line", "covered"),
    [
        ("git status*", "git status", True),
        ("git status*", "git status -s", True),
        ("git status*", "git statusx", False),
        ("git status *", "git status", True),
        ("git status", "git status -s", False),
        ("git status*", "git status; rm -rf x", False),
        ("git status*", "git status $(rm x)", False),
        ("git status*", "git status $X", True),
        ("git status*", "git $X", False),
        ("git status?", "git status$X", False),
        ("git status*", "A=1 git status", False),
        ("git status*", "/tmp/git status", False),
        ("git status*", "sudo git status", False),
        ("git status*", "env git status | cat", False),
        ("git status*", "env nohup git status", True),
        ("git commit -m *", "git commit -m 'a b; c'", True),
        ("*", "$X", False),
        ("*", "a; b", True),
        ("git status*", "git status; echo done", True),
        ("git status*", "echo done", False),
    ],
)
def test_patterns(pattern: str, line: str, covered: bool) -> None:
    assert all_covered([pattern], parse(line)) is covered


def test_a_pattern_sees_words_as_a_shell_quotes_them() -> None:
    assert covers("git commit -m 'a b'", ShellCommand(("git", "commit", "-m", "a b")))
    assert not covers("git commit -m a b", ShellCommand(("git", "commit", "-m", "a b")))


@pytest.mark.parametrize(
    ("line", "patterns"),
    [
        ("pytest -q tests", ("pytest *",)),
        ("timeout 60 pytest", ("pytest *",)),
        ("git log -3", ("git log *",)),
        ("npm run build:all -- x", ("npm run build:all *",)),
        ("npm install left-pad", ("npm install *",)),
        ("make", ("make",)),
        ("python3 -m pytest -x", ("python3 -m pytest *",)),
        ("ruff check && mypy", ("ruff *", "mypy *")),
        ("python -c 'x'", ()),
        ("python3.12 x.py", ()),
        ("sh x.sh", ()),
        ("sudo make", ()),
        ("ls | xargs cat", ("ls *", "cat *")),
        ("A=1 make", ()),
        ("./run.sh", ()),
        ("ssh host ls", ()),
        ("curl x", ()),
        ("find .", ()),
        ("git config x y", ()),
        ("docker run x", ()),
        ("git -C x log", ()),
        ("npm $X", ()),
        ("rm -r x", ()),
        ("git clean", ()),
        ("$X", ()),
        ("cd a && make x", ()),
    ],
)
def test_what_always_may_keep(line: str, patterns: tuple[str, ...]) -> None:
    assert patterns_for(parse(line)) == patterns
