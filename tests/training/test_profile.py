"""What a source's tests do, what they need, and fresh folders with its files."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from assistant.errors import UserError
from tests.training.small_source import FILES, small_source
from training.data.profile import Profile
from training.data.repositories.checkouts import Sources, fingerprint, tree
from training.data.repositories.environments import EnvironmentRefused, environment, key
from training.data.repositories.fetching import fetch, unpacked
from training.data.repositories.requirements import needs
from training.data.schema import Refused, Source
from training.data.stage import Context


def test_a_profile(tmp_path):
    source, context = small_source(tmp_path), Context(tmp_path / "cache")
    (found,) = Profile(runs=1, environments=False)([source], context)
    assert found.flaky == ("test_shop.py::test_label_in_order",)
    assert found.passing == tuple(f"test_shop.py::test_{name}" for name in ("cheapest", "free", "total"))
    assert {function.name: len(function.tests) for function in found.functions} == {"total": 2, "cheapest": 1}
    assert found.lines == {"shop.py": (2, 4, 8)}
    assert (found.seconds, found.python, found.revision) == (0.0, "", fingerprint(Path(found.root)))
    assert [*Path(found.root).iterdir()] == [Path(found.root, name) for name in FILES]


def test_sources_without_usable_tests_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    source = small_source(tmp_path)
    Path(source.root, "test_shop.py").write_text("import gone\n")
    given = [Source("none", str(tmp_path / "none"), ""), Source("away", str(tmp_path / "away"), ""), source]
    found = [*Profile(environments=False)(given, Context(tmp_path / "cache"))]
    assert [(each.id, each.reason) for each in found if isinstance(each, Refused)] == [
        ("none", "no_tests"),
        ("away", "missing"),
        ("shop", "broken"),
    ]


PROJECT = """
    [project]
    name = "my.pkg"
    version = "1.2"
    dependencies = ["attrs>=20", "my-pkg[test]"]
    [project.optional-dependencies]
    test = ["hypothesis", "pytest>=7"]
    docs = ["sphinx"]
    [project.entry-points.pytest11]
    own = "my.plugin"
    [dependency-groups]
    dev = [{include-group = "more"}, "ruff"]
    more = ["freezegun ; python_version > '3'"]
"""


def test_what_tests_need(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "requirements-test.txt").write_text("-e .\n-r other.txt\nidna==3.1 --hash=sha256:0  # why\n\n./here\n")
    found = needs(tmp_path)
    wanted = {"attrs>=20", "hypothesis", "pytest>=7", "freezegun ; python_version > '3'", "idna==3.1", "pytest"}
    assert set(found.requirements) == wanted
    assert (found.name, found.version, found.points) == ("my.pkg", "1.2", "[pytest11]\nown = my.plugin\n")
    (tmp_path / "uv.lock").write_text(
        '[[package]]\nname = "attrs"\nversion = "25.1"\n[[package]]\nname = "my_pkg"\nversion = "1.2"\n'
        '[[package]]\nname = "two"\nversion = "1"\n[[package]]\nname = "two"\nversion = "2"\n'
    )
    (tmp_path / "requirements-tests.txt").symlink_to("/etc/hosts")
    (tmp_path / "requirements-more.txt").write_text("evil @ https://evil.example/evil.whl\nodd --config-settings=a\n")
    assert needs(tmp_path).requirements == found.requirements
    (tmp_path / "pyproject.toml").write_text(PROJECT.replace("my.pkg", "../../up"))
    assert (needs(tmp_path).name, needs(tmp_path).metadata) == ("", "")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    locked = needs(tmp_path)
    assert locked.pinned == ("attrs==25.1",)
    assert key(locked) != key(found)


def test_metadata_of_a_source_distribution_say_what_it_needs(tmp_path):
    (tmp_path / "PKG-INFO").write_text(
        "Metadata-Version: 2.1\nName: shop\nVersion: 3\nProvides-Extra: tests\nRequires-Dist: six\n"
        'Requires-Dist: mock; extra == "tests"\nRequires-Dist: tomli; python_version < "3.11" and extra == "tests"\n\n'
    )
    assert needs(tmp_path).requirements == ("mock", "pytest", "six", 'tomli; python_version < "3.11"')


def test_an_environment_is_there_whole_or_not_at_all(tmp_path):
    (tmp_path / "requirements.txt").write_text("a b c\n")
    with pytest.raises(EnvironmentRefused, match="pip cannot install what the tests need"):
        environment(tmp_path, tmp_path / "cache")
    assert [place.suffix for place in (tmp_path / "cache/environments").iterdir()] == [".lock"]


@pytest.fixture
def history(tmp_path):
    source = small_source(tmp_path)
    git = ("git", "-C", source.root, "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    Path(source.root, ".gitattributes").write_text("test_shop.py export-ignore\n")
    for message in ("one", "two"):
        Path(source.root, "message.txt").write_text(message)
        subprocess.run([*git[:3], "init", "-q"], check=True)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", message], check=True)
    return source


def test_a_tree_is_of_its_revision_and_made_once(history, tmp_path):
    old, new = (
        subprocess.run(["git", "-C", history.root, "rev-parse", name], capture_output=True, text=True).stdout.strip()
        for name in ("HEAD~1", "HEAD")
    )
    cache = tmp_path / "cache"
    root = tree(history, old, cache)
    assert (root / "message.txt").read_text() == "one"
    assert (root.name, sorted(place.name for place in root.glob("*.py"))) == ("shop", [*FILES])
    assert tree(history, old, cache) == root
    assert (tree(history, new, cache) / "message.txt").read_text() == "two"
    with pytest.raises(UserError, match="no commit"):
        tree(history, "0" * 40, cache)


@pytest.mark.parametrize("names", [("..", "b.txt"), ("link", "link/b.txt"), ("a.txt", "a.txt")])
def test_names_that_lead_elsewhere_are_refused(history, tmp_path, names):
    """Trees as no git would write them: a way up, a file behind a link, one name twice."""
    git = ("git", "-C", history.root, "-c", "user.name=a", "-c", "user.email=a@b")

    def ran(*arguments, data=b""):
        return subprocess.run([*git, *arguments], input=data, capture_output=True, check=True).stdout.strip().decode()

    (tmp_path / "elsewhere").mkdir()
    blob, link = (
        ran("hash-object", "-w", "--stdin", data=data) for data in (b"x", str(tmp_path / "elsewhere").encode())
    )

    def made(*entries):
        data = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(sha) for mode, name, sha in entries)
        return ran("hash-object", "-t", "tree", "-w", "--literally", "--stdin", data=data)

    match names:
        case "..", name:
            crafted = made(("40000", "..", made(("100644", name, blob))))
        case "link", _:
            crafted = made(("120000", "link", link), ("40000", "link", made(("100644", "b.txt", blob))))
        case _:
            crafted = made(("120000", "a.txt", link), ("100644", "a.txt", blob))
    commit = ran("commit-tree", "-m", "crafted", crafted)
    with pytest.raises(UserError, match="leads elsewhere"):
        tree(history, commit, tmp_path / "cache")
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_sources_are_found_by_name():
    sources = Sources((Source("a", "/a", "1"), Source("b", "/b", "2")))
    assert sources.get("b").root == "/b"
    with pytest.raises(UserError, match="no source 'c'"):
        sources.get("c")


def test_what_is_fetched_is_pinned_and_unpacks_safely(tmp_path):
    with pytest.raises(UserError, match="not pinned"):
        fetch("toolz>=1", tmp_path)
    archive = tmp_path / "evil-1.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        member = tarfile.TarInfo("evil-1/../../out.txt")
        member.size = 1
        file.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(UserError, match="does not unpack"):
        unpacked(archive, tmp_path / "here/inside")
    assert not (tmp_path / "out.txt").exists()
    assert not (tmp_path / "here/out.txt").exists()
