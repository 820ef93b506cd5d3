"""Each tier by itself: what is chosen, what it says of itself, what may be opened and what stays closed."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.errors import Exit, RefusedError
from assistant.fix.run import check_confined
from assistant.safety.confinement import landlock, seccomp
from assistant.safety.confinement.folders import FolderError
from assistant.safety.confinement.profile import View
from assistant.safety.confinement.seatbelt import seatbelt_profile
from assistant.safety.confinement.tiers import stopped
from assistant.safety.sandbox import TIERS, Harm, Sandbox, Tier, detect

LINUX_TIERS: tuple[Tier, ...] = ("bubblewrap", "bubblewrap-no-proc", "landlock")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def repository(home: Path) -> Path:
    path = home / "repo"
    subprocess.run(["git", "init", "-q", path], check=True)
    (path / "a.txt").write_text("old\n")
    return path


def environment(home: Path) -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home)}


def forced(tier: Tier, repository: Path, config_dirs: Sequence[Path] = ()) -> Sandbox:
    found = detect(repository, environ=environment(repository.parent), tiers=(tier,), config_dirs=config_dirs)
    if found.tier != tier:
        pytest.skip(f"{tier} does not work here")
    return found


@pytest.fixture(params=LINUX_TIERS)
def sandbox(request: pytest.FixtureRequest, repository: Path) -> Sandbox:
    return forced(request.param, repository, [repository.parent / "config"])


def test_the_strongest_tier_is_taken_whatever_the_order_asked_for(repository: Path, home: Path) -> None:
    found = detect(repository, environ=environment(home), tiers=tuple(reversed(TIERS)))
    assert found.tier == detect(repository, environ=environment(home)).tier
    assert detect(repository, environ=environment(home), tiers=()).tier == "none"


def test_only_tiers_that_protect_git_and_outside_need_no_question(repository: Path) -> None:
    contained = {tier: Sandbox(repository, tier, {}, landlock_abi=7).contains for tier in TIERS}
    assert contained == {
        "bubblewrap": True, "bubblewrap-no-proc": True, "landlock": False, "seatbelt": True, "none": False
    }  # fmt: skip
    assert not Sandbox(repository, "landlock", {}, landlock_abi=7).contains_throwaway
    assert Sandbox(repository, "bubblewrap", {}).contains_throwaway


@pytest.mark.parametrize("tier", TIERS)
def test_nothing_is_both_covered_and_lacking(repository: Path, tier: Tier) -> None:
    for abi in (3, 4, 6, 7):
        sandbox = Sandbox(repository, tier, {}, landlock_abi=abi)
        assert sandbox.lacks
        assert not set(sandbox.covers) & set(sandbox.lacks)
    assert ("UDP stays open" in sandbox.lacks) is (Harm.UDP not in sandbox.stops and tier != "none")


def test_an_old_kernel_claims_less() -> None:
    assert Harm.SIGNALS not in stopped("landlock", landlock_abi=5)
    assert Harm.TCP not in stopped("landlock", landlock_abi=3, filtered=False)
    assert Harm.UDP not in stopped("landlock", landlock_abi=7, filtered=False)
    assert stopped("landlock", landlock_abi=7) < stopped("bubblewrap")


async def test_every_claim_holds_when_probed(sandbox: Sandbox) -> None:
    probes = await sandbox.probe()
    assert [probe for probe in probes if probe.ok is False] == []
    assert len(probes) == 14
    unclaimed = {probe.name for probe in probes if probe.ok is None}
    assert not {str(harm) for harm in sandbox.stops} & unclaimed
    assert not list(sandbox.repository.parent.rglob("*kat-probe*"))


async def test_a_lie_is_found_out(repository: Path) -> None:
    """A sandbox that claims everything and stops nothing."""
    bare = Sandbox(repository, "none", environment(repository.parent))

    class Liar(Sandbox):
        @property
        def stops(self) -> frozenset[Harm]:
            return frozenset(Harm)

    lying = Liar(bare.repository, "none", bare.environ)
    broken = {probe.name for probe in await lying.probe() if probe.ok is False}
    assert {str(Harm.OUTSIDE), str(Harm.GIT), f"{Harm.GIT}/config", str(Harm.TCP), str(Harm.UDP)} <= broken


async def test_landlock_lets_honest_work_through(repository: Path) -> None:
    sandbox = forced("landlock", repository)
    command = 'echo new > a.txt; mkdir d; mv a.txt d/; echo t > "$TMPDIR/t"; cat "$TMPDIR/t" d/a.txt; exit 3'
    result = await sandbox.run(command, timeout=10)
    assert (result.exit_code, result.output) == (3, "t\nnew\n")
    assert (await sandbox.run([sys.executable, "-c", "import json; print(6 * 7)"], timeout=20)).output == "42\n"
    assert (await sandbox.run(["no-such-program"], timeout=10)).exit_code == 127


async def test_a_tree_too_deep_for_us_is_cleared_away(repository: Path) -> None:
    sandbox = forced("landlock", repository)
    deep = "import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\nprint(os.environ['TMPDIR'])\n"
    result = await sandbox.run([sys.executable, "-c", f"import os; os.chdir(os.environ['TMPDIR'])\n{deep}"], timeout=20)
    assert result.exit_code == 0, result.output
    assert not Path(result.output.strip()).exists()


def test_landlock_grants_nothing_that_is_hidden(repository: Path, home: Path, tmp_path: Path) -> None:
    view = View(repository, environment(home), (home / "config",))
    found = landlock.grants(view, tmp_path / "private")
    assert repository in found.write
    assert not any(path in (home, *home.parents) for path in (*found.read, *found.write))
    assert Path("/etc/shadow") not in found.read
    assert Path("/etc") not in found.read
    assert Path("/usr") in found.read


@pytest.mark.skipif(not seccomp.available(), reason="system calls cannot be filtered here")
async def test_system_calls_that_lead_out_are_refused(sandbox: Sandbox) -> None:
    code = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for call in ((425, 1, 0), (435, 0, 0), (250, 0, -3, 0), (272, 0x10000000), (298, 0, 0, -1, -1, 0), (16, 0, 0x5412, 0)):
    result = libc.syscall(*call)
    print(errno.errorcode[ctypes.get_errno()] if result < 0 else "done")
"""
    result = await sandbox.run([sys.executable, "-I", "-S", "-c", code], timeout=10)
    assert result.output.split() == ["ENOSYS", "ENOSYS", "EPERM", "EPERM", "EPERM", "EPERM"]


def test_filters_differ_by_machine_and_need() -> None:
    intel = seccomp.program(seccomp.INTERNET, shared_memory=True, machine="x86_64")
    arm = seccomp.program(seccomp.INTERNET, shared_memory=True, machine="aarch64")
    assert intel != arm
    assert len(intel) % 8 == len(arm) % 8 == 0
    assert len(seccomp.program((), shared_memory=False, machine="x86_64")) > len(intel)
    assert not seccomp.available("riscv64")


async def test_a_folder_is_written_only_where_it_is_opened(sandbox: Sandbox, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    await sandbox.run(f"echo x > {cache}/closed", timeout=10)
    await sandbox.run(f"echo x > {cache}/open", timeout=10, write=[cache])
    await replace(sandbox, write=(cache,)).run(f"echo x > {cache}/always", timeout=10)
    assert {path.name for path in cache.iterdir()} == {"open", "always"}


async def test_folders_that_stay_closed(sandbox: Sandbox, home: Path, tmp_path: Path) -> None:
    (home / "config").mkdir()
    (tmp_path / "other").mkdir()
    subprocess.run(["git", "init", "-q", tmp_path / "other" / "deep"], check=True)
    (tmp_path / "link").symlink_to(home)
    refused = {
        Path("/"): "system", Path("/etc"): "system", home: "home", tmp_path: "home", home / "config": "settings",
        sandbox.repository: "repository", tmp_path / "other": "git", tmp_path / "other/deep/.git": "git",
        tmp_path / "link": "home", Path("relative"): "absolute", tmp_path / "missing": "not a folder",
    }  # fmt: skip
    for folder, reason in refused.items():
        with pytest.raises(FolderError, match=reason):
            await sandbox.run("true", timeout=10, write=[folder])
    with pytest.raises(FolderError, match="system"):
        detect(sandbox.repository, environ=environment(home), write=[Path("/")])


async def test_the_network_brings_proxies_and_names(sandbox: Sandbox) -> None:
    named = replace(sandbox, environ={**sandbox.environ, "HTTPS_PROXY": "http://proxy:1"})
    shut = await named.run("env; cat /etc/resolv.conf", timeout=10)
    assert "HTTPS_PROXY" not in shut.output
    assert "PIP_NO_INDEX" in shut.output
    opened = await named.run("env; cat /etc/resolv.conf", timeout=10, network=True)
    assert "HTTPS_PROXY=http://proxy:1" in opened.output
    assert "PIP_NO_INDEX" not in opened.output
    assert Path("/etc/resolv.conf").read_text() in opened.output


def test_the_profile_for_macos(repository: Path, home: Path, tmp_path: Path) -> None:
    ours, private = home / "config", tmp_path / "private"
    view = View(repository, environment(home), (ours,))
    lines = seatbelt_profile(view, private).splitlines()
    assert "(deny default)" in lines
    write = next(line for line in lines if line.startswith("(allow file-write* "))
    assert f'(subpath "{repository}")' in write
    assert f'(subpath "{home}")' not in write
    assert any(line.startswith("(deny file-read* ") and f'(subpath "{home}")' in line for line in lines)
    assert lines.index(write) < next(i for i, line in enumerate(lines) if "[.][gG][iI][tT]" in line)
    assert not any("network" in line for line in lines)
    assert any(
        "network-outbound" in line for line in seatbelt_profile(replace(view, network=True), private).splitlines()
    )
    copied = seatbelt_profile(replace(view, copy=tmp_path / "copy"), private)
    assert f'(allow file-write* (subpath "{tmp_path / "copy"}")' in copied


@pytest.mark.skipif(landlock.version() < landlock.OLDEST, reason="there is no Landlock here")
def test_a_launcher_that_cannot_confine_runs_nothing(repository: Path) -> None:
    order = {"limits": {}, "abi": 7, "rights": 1 << 40, "network": 0, "scopes": 0, "read": [], "write": [], "keep": []}
    argv = [*landlock.launcher({**order, "filter": ""}), "/bin/sh", "-c", "echo ran"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("launcher: ")


def test_a_repository_is_not_mended_where_nothing_confines_what_it_runs(tmp_path: Path) -> None:
    bare = Sandbox(tmp_path, "none", {})
    with pytest.raises(RefusedError, match="--allow command") as refused:
        check_confined(bare, ("network", "command:make *"))
    assert refused.value.code == Exit.REFUSED == 4
    check_confined(bare, ("command",))
    check_confined(bare, ("all",))
    for tier in ("bubblewrap", "bubblewrap-no-proc", "seatbelt"):
        check_confined(replace(bare, tier=tier), ())
