"""Episodes: the prompts are the product's, what experts say is true, and the same seed gives the same bytes."""

import ast
import asyncio
import random
import re
import shutil
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assistant.config import Settings
from assistant.opening import Place, open_pilot
from assistant.safety.sandbox import detect
from assistant.workspace.plain_git import plain_git
from model.dialects import dialect
from model.format import Mode, ThinkRequest
from training.data.episodes import Episodes, Repairs
from training.data.experts.editing import defaults, parameters, renames
from training.data.experts.expert import Library, Part, call
from training.data.experts.looking import LOOKING
from training.data.experts.playing import NEUTRAL, Expert, Turn, stand
from training.data.experts.restoring import docstrings, hints
from training.data.experts.steady import Astray, Steady
from training.data.schema import Provenance, Refused, Sample, Source, Task, as_line
from training.data.stage import Context

SHAPES = '''"""Shapes and their sizes."""

import math


class Shape:
    """Anything flat."""

    def area_of(self) -> float:
        """The area, in square units."""
        raise NotImplementedError


class Circle(Shape):
    """A circle."""

    def __init__(self, radius=1, name="round"):
        self.radius = radius
        self.name = name

    def area_of(self) -> float:
        squared = self.radius * self.radius
        result = math.pi * squared
        return result


def scaled(values, factor=2):
    """Every value, times a factor."""
    grown = []
    for value in values:
        grown.append(value * factor)
    return grown


def total_of(values) -> int:
    """The sum of all values."""
    amount = 0
    for value in values:
        amount += value
    return amount
'''
USES = "from shop.shapes import scaled, total_of\n\n\ndef doubled_total(values):\n    return total_of(scaled(values))\n"
TESTS = (
    "from shop.shapes import scaled, total_of\nfrom shop.uses import doubled_total\n\n\n"
    "def test_total():\n    assert total_of([1, 2]) == 3\n\n\n"
    "def test_doubled():\n    assert doubled_total([1, 2]) == 6\n"
)
QUICK = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest -q"
FILES = {
    "README.md": "# Shop\nA shop of shapes.\n",
    "shop/__init__.py": "",
    "shop/shapes.py": SHAPES,
    "shop/uses.py": USES,
    "tests/test_shapes.py": TESTS,
}


def _written(root):
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = _written(tmp_path_factory.mktemp("sources") / "shop")
    return Source("shop", str(root), "", test="python -m pytest -q", licence="MIT")


@pytest.fixture(scope="module")
def place(source):
    with stand(source, Path(source.root)) as made:
        yield made


def _look_and_edit():
    yield Turn("I look.", (call("search", pattern="def scaled"),), judge="A look.")
    yield Turn("", (call("read_file", path="shop/uses.py"),), judge="A look.")
    old, new = "    return total_of(scaled(values))", "    return total_of(scaled(values, 2))"
    yield Turn("", (call("edit_file", path="shop/uses.py", old=old, new=new),), "It is clear.", "A change.", on=True)
    yield Turn("", (call("finish", message="Done."),), judge="It is over.")


async def _as_the_product(root, profile, state):
    expert = Expert(_look_and_edit())
    environ = {"KAT_STATE": str(state), "KAT_CONFIG": str(state / "config"), "PATH": "/usr/bin:/bin"}
    settings = Settings(profile=profile, test_command="python -m pytest -q")
    pilot = await open_pilot(
        Place(root, named=NEUTRAL / "shop", environ=environ), expert, settings, allow=("edit",), interactive=False
    )
    try:
        async for _ in pilot.run("Pass the factor on.", ThinkRequest.AUTO):
            pass
    finally:
        await pilot.aclose()
    return [prompt.text for prompt, _, _ in expert.said]


@pytest.mark.parametrize("profile", ["compact", "full"])
def test_prompts_are_byte_for_byte_those_of_the_product(place, tmp_path, profile):
    played = place.play("Pass the factor on.", _look_and_edit(), profile)
    root = _written(tmp_path / "copy")
    plain_git(root, "init", "--quiet", failing="no git")
    wanted = asyncio.run(_as_the_product(root, profile, tmp_path / "state"))
    assert [step.prompt.text for step in played] == wanted
    assert place.text("shop/uses.py") == USES  # and the files are what they were
    assert dialect("kat").name == played[0].prompt.dialect


def _slipping():
    yield Turn("", (call("read_file", path="shop/uses.py"),), judge="A look.")
    wrong = call("edit_file", path="shop/uses.py", old="return totl_of", new="return total_of")
    yield Turn("", (wrong,), judge="A change.", fails=True)
    right = call("edit_file", path="shop/uses.py", old="return total_of", new="return 0 + total_of")
    yield Turn("", (right,), "I copied it wrongly.", "A change.")
    yield Turn("Done.", judge="It is over.")


def test_a_failed_edit_is_followed_by_a_thought_that_the_policy_asks_for(place):
    steps = place.play("Change it.", _slipping(), "full")
    assert [step.fails for step in steps] == [False, True, False, False]
    assert (steps[2].record.rule, steps[2].reply.mode) == ("failed_edit", Mode.ON)
    assert steps[2].reply.think == "I copied it wrongly."
    assert steps[2].prompt.messages[-1].content.startswith("Error: The old text is not in the file")


def _wrong_about_it():
    yield Turn("", (call("read_file", path="shop/none.py"),), judge="A look.")
    yield Turn("Done.", judge="It is over.")


def _in_need_of_a_thought():
    wrong = call("edit_file", path="shop/uses.py", old="return totl_of", new="return total_of")
    yield Turn("", (wrong,), judge="A change.", fails=True)
    yield Turn("Done.", judge="It is over.")


@pytest.mark.parametrize("script", [_wrong_about_it, _in_need_of_a_thought])
def test_what_does_not_go_as_the_expert_has_it_is_not_used(place, script):
    with pytest.raises(Astray):
        place.play("Look.", script(), "compact")


def test_samples_are_the_same_each_time_and_whole(source, tmp_path):
    context = Context(tmp_path)
    made = [*Episodes(seed=3, each=11)([source], context)]
    samples = [each for each in made if isinstance(each, Sample)]
    shutil.copytree(source.root, elsewhere := tmp_path / "elsewhere" / "name")
    again = Episodes(seed=3, each=11)([Source("shop", str(elsewhere), "", test=source.test, licence="MIT")], context)
    assert [as_line(each) for each in again if isinstance(each, Sample)] == [as_line(each) for each in samples]
    assert len(samples) > 20
    assert len({each.id for each in samples}) == len(samples)
    for sample in samples:
        _is_whole(sample)
    assert {each.mode for each in samples} == {Mode.ON, Mode.OFF}
    assert {each.tags.language for each in samples} == {"en", "zh"}
    assert {len(each.tools) for each in samples} == {9, 20}  # both profiles


def _is_whole(sample):
    spoken = dialect("kat")
    why = sample.judge if sample.request is not ThinkRequest.AUTO else ""
    prompt = spoken.render(sample.messages, sample.tools, sample.request, why)
    written = spoken.write(sample.reply)
    assert written.startswith(prompt.opening.text)
    parser = spoken.parser()
    parser.feed(written)
    parser.close()
    found = parser.reply
    assert (found.judge, found.mode, found.think, found.answer) == (
        sample.judge,
        sample.mode,
        sample.think,
        sample.answer,
    )
    assert [(one.name, one.arguments) for one in found.calls] == [(one.name, one.arguments) for one in sample.calls]
    assert (sample.mode is Mode.ON) == bool(sample.think)
    assert (sample.by == "regime") == (sample.request is ThinkRequest.AUTO)
    assert sample.trainable is not bool(re.search("held|failed|invalid", sample.verification.evidence["calls"]))
    assert "kat-run-" not in as_line(sample)


def _part(seed, profile="full"):
    return Part(random.Random(seed), "en", profile)


def _edits(episode):
    """The edits of an episode that go in, with nothing played: each call gives an empty output."""
    script = episode.script()
    turn, found = next(script), []
    while True:
        found += [one for one in turn.calls if one.name == "edit_file" and not turn.fails]
        try:
            turn = script.send((f"{episode.path} exit code 0",))
        except StopIteration:
            return found


def _edited(episode, text):
    for edit in _edits(episode):
        old, new = edit.arguments["old"], edit.arguments["new"]
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [docstrings, hints])
def test_what_was_taken_away_is_put_back(source, kind, seed):
    found = [*kind(Library(Path(source.root)), _part(seed))]
    assert found
    for episode in found:
        begun = episode.start[episode.path].decode()
        assert begun != SHAPES
        assert _edited(episode, begun) == SHAPES


@pytest.mark.parametrize("seed", range(4))
def test_edits_do_what_the_user_says_and_nothing_else(source, seed):
    library = Library(Path(source.root))
    for kind in (renames, parameters, defaults):
        found = [*kind(library, _part(seed))]
        assert found, kind
        for episode in found:
            before = FILES[episode.path]
            after = _edited(episode, before)
            assert after != before
            assert _shape(after) == _shape(before)


def _shape(text):
    """The tree without names of variables, parameters and constants, which are all that the edits change."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.args = ast.arguments([], [], None, [], [], None, [])
        if isinstance(node, ast.Name):
            node.id = "name"
    return ast.dump(tree)


def test_a_rename_renames_one_variable_wherever_it_stands(source):
    for episode in renames(Library(Path(source.root)), _part(1)):
        before, after = (_names(text) for text in (FILES[episode.path], _edited(episode, FILES[episode.path])))
        where = {name for name, (old, new) in zip(before, zip(before, after, strict=True), strict=True) if old != new}
        assert len(where) == 1
        assert where.isdisjoint(_in_function(_edited(episode, FILES[episode.path]), episode.function))


def _names(text):
    return [node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]


def _in_function(text, name):
    (found,) = (
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.name == name.rpartition(".")[2] and len(node.body) > 2
    )
    return _names(ast.unparse(found))


def test_every_kind_of_look_up_finds_something(place, source):
    library = Library(Path(source.root))
    for kind in LOOKING:
        for profile in ("compact", "full"):
            part = _part(5, profile)
            episode = next(iter(kind(library, part)))
            (*_, last) = place.play(episode.words, episode.script(), profile)
            assert last.reply.answer, kind
            assert not last.reply.calls


def test_a_repair_shows_real_tests_and_ends_when_they_pass(source, tmp_path):
    old, new = "        amount += value", "        amount -= value"
    solution = _patch(new, old)
    task = Task(
        "task-1", "mutation", "The sum of values is wrong.", Provenance("shop", "", "", "shop/shapes.py", "total_of"),
        start=_patch(old, new), solution=solution, test=QUICK, fail_to_pass=("tests/test_shapes.py::test_total",),
    )  # fmt: skip
    made = [*Repairs(seed=2, sources=(source,), wishes=0.0, chinese=0.0)([task], Context(tmp_path))]
    assert not [each for each in made if isinstance(each, Refused)]
    first, *_, last = made
    assert first.calls[0].name == "run_tests"
    assert any("failed: tests/test_shapes.py::test_total" in message.content for message in last.messages)
    assert "2 passed, 0 failed" in last.messages[-1].content + str(last.messages)
    assert any(each.by == "policy" and each.provenance.made_by == "repair:failed_test" for each in made)
    (edit,) = [one for each in made if each.trainable for one in each.calls if one.name == "edit_file"]
    assert old in edit.arguments["new"]
    assert {each.verification.by for each in made} == {"tests"}


def _patch(old, new):
    row = SHAPES.split("\n").index("        amount += value") + 1
    head = f"--- a/shop/shapes.py\n+++ b/shop/shapes.py\n@@ -{row - 1},3 +{row - 1},3 @@\n"
    return f"{head}     for value in values:\n-{old}\n+{new}\n     return amount\n"


@pytest.mark.parametrize(
    ("shown", "holds"),
    [
        ("assert {1, 2} == {1}", True),
        ("assert {(1, None), (2, 2)} == set()", False),
        ("assert {(1, 2), ...} == set()", False),
        ("Extra items in the left set:\n(1, None)", False),
        (f"at {datetime.now(UTC).date().isoformat()}", False),
        ("E   + <Cart object at 0x7ff00a>\nE   ?                     ^^\n", False),
        ("E   + [1, 2]\nE   ?     ^\n", True),
    ],
)
def test_output_that_would_differ_is_not_used(tmp_path: Path, shown: str, holds: bool) -> None:
    sandbox = Steady.over(detect(tmp_path), ())
    with nullcontext() if holds else pytest.raises(Astray):
        assert asyncio.run(sandbox.run(["printf", "%s", shown], timeout=30)).output == shown
