"""The map of a repository, and what it costs to keep it up to date."""

import asyncio
import re
import sqlite3
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.workspace.files import Workspace
from assistant.workspace.names import Focus, NameIndex, Names
from assistant.workspace.outline import fitted, roughly
from assistant.workspace.pagerank import DAMPING, Walk
from assistant.workspace.repomap import RepoMap, first_map
from assistant.workspace.scan import written_by_people
from assistant.workspace.tagging import Source, find_tags
from assistant.workspace.watching import Watch

FILES = {
    "shop/base.py": "class Money:\n    def rounded(self):\n        return self\n\n\ndef convert(money):\n    pass\n",
    "shop/cart.py": "from shop.base import Money, convert\n\n\nclass Cart:\n    def add(self, item):\n"
    "        return convert(Money(item)).rounded()\n",
    "shop/till.py": "from shop.base import Money\nfrom shop.cart import Cart\n\ndef pay(cart):\n    return Money(1)\n",
    "web/app.ts": "import { Page } from './page';\nexport const start = () => new Page();\n",
    "web/page.ts": "export class Page { render(): void {} }\n",
    "vendor/big.py": "class Foreign: pass\n",
    "web/lib.min.js": "function minified(){}",
    "made_pb2.py": "class Generated: pass\n",
    "ignored.py": "class Ignored: pass\n",
    ".gitignore": "ignored.py\n",
}


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "repo"
    for name, text in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    subprocess.run(["git", "init", "-q", path], check=True)
    return path


def words(text):
    return len(re.findall(r"\w+|[^\w\s]", text))


def opened(root, cache):
    return RepoMap(Workspace(root), cache, processes=1)


async def test_the_map_shows_what_others_use_first(root, tmp_path):
    repo_map = opened(root, tmp_path / "cache")
    text = await repo_map.text(500, count=words)
    assert "shop/base.py:\nclass Money:\n    def rounded(self):\n⋮\ndef convert(money):\n⋮" in text
    assert not any(name in text for name in ("Foreign", "minified", "Generated", "Ignored"))
    small = await repo_map.text(12, count=words)
    assert small.startswith("shop/base.py:\nclass Money:")
    assert words(small) <= 12
    assert await repo_map.text(2, count=words) == ""


async def test_the_focus_moves_the_order(root, tmp_path):
    repo_map = opened(root, None)
    assert "class Page" in await repo_map.text(12, mentioned="what does `Page` do?", count=words)
    assert "class Page" in await repo_map.text(12, opened=["web/app.ts"], count=words)
    assert "def pay" in await repo_map.text(16, mentioned="fix pay() in shop/till.py", count=words)


async def test_of_many_definitions_of_a_name_those_are_meant_that_stand_where_the_user_points(root):
    for n in range(20):
        (root / f"form{n}.py").write_text(f"class Form{n}:\n    def clean(self): pass\n\ndef usual(): pass\n")
    repo_map = opened(root, None)
    text = await repo_map.text(60, mentioned="why does Form7.clean() in form7.py lose it?", count=words)
    assert "form7.py:\nclass Form7:\n    def clean(self):" in text
    assert text.count("def clean") == 1
    assert "class Form13" in await repo_map.text(12, mentioned="Form13", count=words)
    assert "class Cart" in await repo_map.text(40, mentioned="is the total of a Cart right?", count=words)
    assert (await repo_map.text(60, mentioned="clean", count=words)).count("def clean") < 3, "it may be just a word"


async def test_symbols_and_names(root, tmp_path):
    repo_map = opened(root, None)
    assert [one.qualified for one in await repo_map.symbols("ignored.py")] == ["Ignored"]
    found = await repo_map.find("Money")
    assert [(place.path, place.definition.line) for place in found.definitions] == [("shop/base.py", 1)]
    assert [(use.path, use.count, use.line) for use in found.uses] == [("shop/cart.py", 2, 1), ("shop/till.py", 2, 1)]
    assert [place.path for place in (await repo_map.find("Money.rounded")).definitions] == ["shop/base.py"]
    assert [use.path for use in (await repo_map.find("Money::rounded")).uses] == ["shop/cart.py"]
    assert (await repo_map.find("nowhere")).definitions == ()


async def test_changes_and_deletions_are_seen(root, tmp_path):
    repo_map = opened(root, tmp_path / "cache")
    await repo_map.text(500, count=words)
    (root / "shop/cart.py").write_text("from shop.base import tax\n")
    (root / "shop/base.py").write_text("def tax(): pass\n")
    (root / "web/page.ts").unlink()
    (root / "shop/new.py").write_text("from shop.base import tax\nclass New: pass\n")
    assert "def tax" in await repo_map.text(500, count=words)
    assert [use.path for use in (await repo_map.find("tax")).uses] == ["shop/cart.py", "shop/new.py"]
    assert (await repo_map.find("Page")).definitions == ()
    (root / ".gitignore").write_text("new.py\n")
    assert (await repo_map.find("New")).definitions == ()
    again = opened(root, tmp_path / "cache")
    assert await again.text(500, count=words) == await repo_map.text(500, count=words)


async def test_events_tell_of_changes(root, tmp_path):
    repo_map = opened(root, None)
    repo_map.watch()
    try:
        for _ in range(100):
            if repo_map._watch.ready:
                break
            await asyncio.sleep(0.05)
        assert repo_map._watch.ready
        await repo_map.text(500, count=words)
        (root / "shop/later.py").write_text("class Later: pass\n")
        (root / "shop/cart.py").unlink()
        (root / "ignored.py").write_text("class StillIgnored: pass\n")
        for _ in range(60):
            if (await repo_map.find("Later")).definitions:
                break
            await asyncio.sleep(0.05)
        assert [place.path for place in (await repo_map.find("Later")).definitions] == ["shop/later.py"]
        assert not (await repo_map.find("Cart")).definitions
        assert not (await repo_map.find("StillIgnored")).definitions
        (root / "shop/base.py").write_text("class Told: pass\n")
        assert "Told" in await repo_map.text(500, changed=["shop/base.py"], mentioned="`Told`", count=words)
    finally:
        repo_map.close()


async def test_a_map_that_does_not_hear_is_never_a_moment_old(root, tmp_path):
    repo_map = RepoMap(Workspace(root), None, hears=False)
    repo_map.watch()
    for number in range(5):
        (root / "shop/base.py").write_text(f"class Told{number}: pass\n")
        assert (await repo_map.find(f"Told{number}")).definitions


def test_of_what_is_heard_only_what_may_be_ours_is_kept(tmp_path):
    watch = Watch(tmp_path)
    try:
        watch._heard({f"{tmp_path}/src/a.py"})
        assert watch.taken() is None, "what came before it listened is not known"
        watch._heard({f"{tmp_path}/{name}" for name in ("src/a.py", ".git/HEAD", "web/node_modules/x/a.js")})
        assert watch.taken() == {"src/a.py"}
        for part in range(10):
            watch._heard({f"{tmp_path}/build/{part}/{n}.py" for n in range(60)})
        assert watch.taken() is None, "so many are looked for, not kept"
        watch._heard({f"{tmp_path}/.git/index"})
        assert watch.taken() is None
        assert watch.taken() == set()
    finally:
        watch.close()


async def test_a_changed_file_is_seen_before_the_system_tells_of_it(root):
    class Deaf:
        def taken(self):
            return set()

        def forget(self):
            pass

    repo_map = opened(root, None)
    await repo_map.text(500, count=words)
    repo_map._watch = Deaf()
    (root / "shop/base.py").write_text("class Fresh: pass\n")
    assert not (await repo_map.find("Fresh")).definitions
    assert (await repo_map.find("Fresh", changed=["shop/base.py"])).definitions
    (root / "shop/till.py").write_text("class Later: pass\n")
    assert "Later" in await repo_map.text(500, changed=["shop/till.py"], count=words)


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, None])
async def test_a_broken_cache_is_made_anew(root, tmp_path, damage):
    cache = tmp_path / "cache"
    text = await opened(root, cache).text(500, count=words)
    (file,) = cache.iterdir()
    if damage is None:
        with sqlite3.connect(file) as store:
            store.executescript("DROP TABLE tags; DELETE FROM orders;")
    else:
        file.write_bytes(damage)
    repo_map = opened(root, cache)
    await repo_map.text(500, count=words)
    assert await repo_map.text(500, count=words) == text


async def test_a_folder_that_cannot_be_written_costs_only_the_keeping(root, tmp_path):
    (tmp_path / "file").write_text("")
    repo_map = opened(root, tmp_path / "file")
    assert "class Money" in await repo_map.text(500, count=words)
    assert (await repo_map.find("Money")).definitions


async def test_what_is_known_is_not_read_again(root, tmp_path):
    first = opened(root, tmp_path / "cache")
    await first.text(500, count=words)
    time.sleep(0.06)  # past the moment in which a stamp is not trusted
    await first.text(500, count=words)
    (file,) = (tmp_path / "cache").iterdir()
    with sqlite3.connect(file) as store:
        store.execute("UPDATE tags SET definitions = replace(definitions, 'Money', 'Kept')")
        store.execute("DELETE FROM orders")
    assert "class Kept" in await opened(root, tmp_path / "cache").text(500, count=words)
    with sqlite3.connect(file) as store:
        store.execute("""UPDATE orders SET keys = '[["shop/cart.py", "Cart"]]'""")
    again = opened(root, tmp_path / "cache")
    only = await again.text(500, mentioned="", opened=frozenset(), changed=frozenset(), count=words)
    assert only.splitlines()[0] == "shop/cart.py:"
    assert "class Page" not in only


async def test_hostile_names_and_files(tmp_path):
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a\nclass Fake:\x1b[2J.py").write_text("class Odd: pass\n")
    (root / "bytes\udcff.py").write_text("from x import Odd\n")
    (root / "esc.py").write_text("class Esc:\n    x = 'a\x1b]0;t\x07'\n    def f(self, a='\x1b[2J'): pass\n")
    (root / "link.py").symlink_to("/etc/passwd")
    (root / "binary.py").write_bytes(b"\0\1class Binary: pass\n")
    (root / "deep.py").write_text("x = " + "[" * 3_000)
    text = await opened(root, tmp_path / "cache").text(500, mentioned="`Odd` `Esc` `f`", count=words)
    assert "class Odd" in text
    assert "\x1b" not in text
    assert all(line in ("⋮", "") or line[0] == " " or line.split()[0] in ("class", "def") or line.endswith(".py:")
               for line in text.split("\n"))  # fmt: skip


def test_the_first_map_ends_in_time_and_the_next_goes_on(root, tmp_path):
    workspace = Workspace(root)
    assert first_map(workspace, tmp_path / "cache", 500, words, 0.0) == ""
    assert "class Money" in first_map(workspace, tmp_path / "cache", 500, words, 30.0)


class Crashing:
    """An Apart whose process dies of one text."""

    def call(self, name, files, seconds=5.0):
        if any("boom" in text for _, text in files):
            return None
        return [[[], [text], [[], [], []]] for _, text in files]


def test_a_file_that_kills_its_process_takes_no_other_with_it():
    sources = [Source(text, "python", text, text) for text in ("a", "boom", "b")]
    found = {}
    find_tags(iter(sources), lambda one, tags: found.update({one.path: tags}), [Crashing()], float("inf"))
    assert {path: tags and tags[1] for path, tags in found.items()} == {"a": ["a"], "boom": None, "b": ["b"]}


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("# Code generated by protoc. DO NOT EDIT.\nx = 1\n", False),
        ("/* @generated */\n", False),
        ("x" * 3000, False),
        ("# what is generated by us\nname = '@generated'\n", True),
    ],
)
def test_what_programs_wrote_is_left_out(text, own):
    assert written_by_people(text) == own


def test_a_budget_is_filled_and_never_passed():
    from assistant.workspace.tags import Definition

    definitions = [Definition(f"name{n}", "function", "", n, n, n, n, n + 1, f"def name{n}():") for n in range(1, 80)]
    keys = [("a.py", one.name) for one in definitions]
    for budget in (0, 5, 50, 200, 10_000):
        text = fitted(keys, lambda _: definitions, budget, roughly)
        assert roughly(text) <= budget
        assert (text.count("def ") == 79) == (budget == 10_000)


LINKS = st.dictionaries(st.integers(0, 5), st.dictionaries(st.integers(0, 5), st.floats(0.1, 9), max_size=4))


def settled(links, masses):
    """What a walk comes to, by going on until nothing moves."""
    rank = [0.0] * 6
    for _ in range(150):
        given_on = [sum(rank[n] * links[n].get(to, 0.0) for n in range(6)) for to in range(6)]
        rank = [own + DAMPING * flow for own, flow in zip(masses, given_on, strict=True)]
    return rank


@settings(max_examples=40, deadline=None)
@given(st.lists(LINKS, max_size=3), st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_a_walk_that_is_led_elsewhere_comes_to_where_it_would_have_come_at_once(steps, masses):
    links = [{}] * 6
    walk = Walk(links, 1e-9)
    for node, mass in enumerate(masses):
        walk.add(node, mass)
    for step in steps:
        walk.settle()
        for node, weights in step.items():
            shares = {target: weight / sum(weights.values()) for target, weight in weights.items()}
            walk.relinked(node, links[node], shares)
            links[node] = shares
    moved, before = walk.settle(), [walk.rank[node] for node in range(6)]
    assert before == pytest.approx(settled(links, masses), abs=1e-6)
    assert walk.settle() == {}
    walk.add(0, 1.0)
    moved = walk.settle()
    assert [before[node] + moved.get(node, 0.0) for node in range(6)] == pytest.approx([walk.rank[n] for n in range(6)])


NAMES = st.sets(st.sampled_from(["one", ".two", "three", "load_all", ".read", "x"]), max_size=4)
FILE = st.builds(
    lambda defined, used: Names("python", frozenset(defined), dict.fromkeys(sorted(used), 2)), NAMES, NAMES
)


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.none() | FILE, min_size=1), max_size=6))
def test_an_index_that_was_changed_is_one_that_was_made_so(steps):
    changed, now = NameIndex(), {}
    for step in steps:
        changed.update(step)
        changed.ranked(Focus(), 50)
        now = {path: names for path, names in (now | step).items() if names is not None}
    fresh = NameIndex()
    fresh.update(now)
    for name in ("one", "two", "load_all"):
        assert changed.definers(name) == fresh.definers(name)
        assert changed.users(name) == fresh.users(name)
    assert set(changed.ranked(Focus("load_all"), 50)) == set(fresh.ranked(Focus("load_all"), 50))
    assert flows(changed) == flows(fresh)
    assert scores(changed) == pytest.approx(scores(fresh), abs=0.5)


def flows(index):
    found = {path: index._flows[node] for path, node in index._nodes.items()}
    return {
        path: sorted((index._keys[number], round(share, 9)) for places, share in flow for number in places.values())
        for path, flow in found.items()
    }


def scores(index):
    used = {number for flow in index._flows for places, _ in flow for number in places.values()}
    return {index._keys[number]: index._scores[number] for number in used}
