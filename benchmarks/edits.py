"""What becomes of 300 damaged edits: applied rightly, refused, or applied wrongly, by kind of damage.

Judged by equality with the bytes that the file must have: wrong is the wrong place as well as the right place with
white space, quotes or line endings that the file does not have. To refuse what has to be refused is right.
Five ways, each on the same edits:
    kat       what edit_file does: the ladder of assistant/workspace/edit.py, and refusal if the file was changed
              since the model read it
    ladder    the ladder alone, as if the model had read the file as it is now
    exact     replace the text if it stands there once
    difflib   replace the lines most like it by SequenceMatcher, if they are alike by more than 0.6, or 0.8
Only the first two know of encodings and line endings; the others get the text of the file as it is. Nor do the others
mend what they write, so what they do wrong is often in the right place; the last row but one says how often it is not.
"""

from __future__ import annotations

import difflib
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from damage import Case, corpus, kinds
from measure import machine

from assistant.workspace.changes import Planner
from assistant.workspace.edit import Edit, plan_edit
from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace
from assistant.workspace.seen import Seen
from assistant.workspace.text import decode

Way = Callable[[Case], bytes | None]
OUTCOMES = ("right", "refused", "wrong")


def kat(case: Case) -> bytes | None:
    """As the tool plans it, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        workspace, seen, file = Workspace(Path(folder)), Seen(), Path(folder) / "code.py"
        file.write_bytes(case.read)
        seen.wrote("code.py", workspace.read("code.py").digest)
        file.write_bytes(case.data)
        try:
            return Planner(workspace, seen).edit("code.py", [Edit(case.old, case.new)]).data
        except WorkspaceError:
            return None


def ladder(case: Case) -> bytes | None:
    """The ladder on the text."""
    file = decode(case.data, 0o644, "code.py")
    plain = file.newline == "\r\n"
    old, new = (text.replace("\r\n", "\n") if plain else text for text in (case.old, case.new))
    try:
        return file.encode(plan_edit(file.text, old, new).new_text)
    except WorkspaceError:
        return None


def exact(case: Case) -> bytes | None:
    """Once, and exactly."""
    text = case.data.decode()
    return text.replace(case.old, case.new).encode() if text.count(case.old) == 1 else None


def alike(cutoff: float) -> Way:
    """The window of lines that is most like the old text, if it is alike enough."""

    def way(case: Case) -> bytes | None:
        lines, wanted = case.data.decode().splitlines(keepends=True), case.old.splitlines(keepends=True)
        matcher = difflib.SequenceMatcher(autojunk=False)
        matcher.set_seq2("".join(wanted))
        best, place = cutoff, None
        for at in range(len(lines) - len(wanted) + 1):
            matcher.set_seq1("".join(lines[at : at + len(wanted)]))
            if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best and (ratio := matcher.ratio()) > best:
                best, place = ratio, at
        if place is None:
            return None
        written = case.new if case.new.endswith("\n") or not case.new else case.new + "\n"
        return "".join([*lines[:place], written, *lines[place + len(wanted) :]]).encode()

    return way


WAYS: dict[str, Way] = {
    "kat": kat,
    "ladder": ladder,
    "exact": exact,
    "difflib 0.6": alike(0.6),
    "difflib 0.8": alike(0.8),
}


def outcome(case: Case, way: Way) -> str:
    """`right`, `refused` or `wrong`; to refuse what has to be refused is right."""
    return judged(case, way(case))


def judged(case: Case, result: bytes | None) -> str:
    """What `outcome` says of a result."""
    if result is None:
        return "refused" if case.right is not None else "right"
    return "right" if result == case.right else "wrong"


def misplaced(case: Case, result: bytes | None) -> bool:
    """Whether lines changed outside those that the edit is about, or it was done though it had to be refused."""
    if result is None or case.right is None:
        return result is not None
    lines, there = case.data.splitlines(), result.splitlines()
    wanted = case.right.splitlines()
    first = _common(lines, wanted)
    last = _common(lines[first:][::-1], wanted[first:][::-1])
    return there[:first] != lines[:first] or there[len(there) - last :] != lines[len(lines) - last :]


def _common(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def main() -> None:
    """Judge all ways and print a table: right, refused, wrong."""
    cases = corpus()
    print(f"{len(cases)} damaged edits: right / refused needlessly / wrong; {machine()}")
    print(f"{'damage':20}" + "".join(f"{name:>16}" for name in WAYS))
    counts = {name: Counter[tuple[str, str]]() for name in WAYS}
    elsewhere = Counter[str]()
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for case in cases:
        for name, way in WAYS.items():
            start = time.perf_counter()
            result = way(case)
            times[name].append(time.perf_counter() - start)
            counts[name][case.kind, judged(case, result)] += 1
            elsewhere[name] += misplaced(case, result)
    for kind in kinds():
        print(f"{kind:20}" + "".join(f"{_cell([counts[name][kind, o] for o in OUTCOMES]):>16}" for name in WAYS))
    sums = {name: [sum(counts[name][kind, o] for kind in kinds()) for o in OUTCOMES] for name in WAYS}
    print(f"{'all':20}" + "".join(f"{_cell(sums[name]):>16}" for name in WAYS))
    print(f"{'wrong place':20}" + "".join(f"{elsewhere[name]:>16}" for name in WAYS))
    print(f"{'ms an edit, median':20}" + "".join(f"{statistics.median(times[name]) * 1000:16.2f}" for name in WAYS))


def _cell(numbers: list[int]) -> str:
    return " / ".join(map(str, numbers))


if __name__ == "__main__":
    main()
