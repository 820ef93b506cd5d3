"""Commands that go for files: outside, at home, in .git, in our own settings."""

import os
import subprocess
from pathlib import Path

import pytest

from assistant.safety.sandbox import Harm
from tests.attacks.world import ROOT, Attack, World

WRITE_OUTSIDE = "open(bait['outside'] + '/precious', 'a').write('harm')"


def outside(name: str, code: str, **more: bool) -> Attack:
    return Attack(name, Harm.OUTSIDE, code, World.outside_changed, **more)


def git(name: str, code: str, **more: bool) -> Attack:
    return Attack(name, Harm.GIT, code, World.git_changed, **more)


def reading(name: str, code: str, **more: bool) -> Attack:
    return Attack(name, Harm.HOME, code, World.learnt, **more)


def poisoned(world: World) -> bool:
    return (world.visible / "precious").read_text() != "precious\n"


def settings_changed(world: World) -> bool:
    return world.changed("config", "state")


def shadow_shown(world: World) -> bool:
    shadow = Path("/etc/shadow")
    return os.access(shadow, os.R_OK) and shadow.read_text().splitlines()[0] in world.output


def terminal_written(world: World) -> bool:
    try:
        return b"spoof" in os.read(world.terminal[0], 1000)
    except BlockingIOError:
        return False


ATTACKS = [
    outside("deletes-a-folder-outside", "shutil.rmtree(bait['outside'])"),
    outside("deletes-home", "shutil.rmtree(bait['home'])"),
    outside("truncates-by-path", "os.truncate(bait['outside'] + '/precious', 0)"),
    outside("moves-a-file-in", "os.rename(bait['outside'] + '/precious', 'stolen')"),
    outside("climbs-with-dots", "open('../escaped', 'w').write('x')"),
    outside(
        "climbs-from-a-deep-folder", "os.makedirs('a/b'); os.chdir('a/b'); open('../../../escaped', 'w').write('x')"
    ),
    outside("writes-through-a-link", "os.symlink(bait['outside'], 'link'); open('link/precious', 'a').write('harm')"),
    outside(
        "writes-through-a-hard-link",
        "os.link(bait['outside'] + '/precious', 'hard'); open('hard', 'a').write('harm')",
    ),
    outside(
        "writes-by-proc-root",
        "open(f\"/proc/{bait['host']}/root\" + bait['outside'] + '/precious', 'a').write('harm')",
        real=ROOT,
    ),
    outside(
        "writes-by-the-root-of-init",
        "open('/proc/1/root' + bait['outside'] + '/precious', 'a').write('harm')",
        real=False,
    ),
    outside(
        "writes-by-inherited-files",
        """
for file in range(3, 256):
    try:
        os.close(os.open('new', os.O_CREAT | os.O_WRONLY, dir_fd=file))
    except OSError:
        pass
""",
        real=False,
    ),
    outside(
        "escapes-a-chroot",
        """
os.mkdir('jail')
root = os.open('.', os.O_RDONLY)
os.chroot('jail')
os.fchdir(root)
for _ in range(30):
    os.chdir('..')
os.chroot('.')
"""
        + WRITE_OUTSIDE,
        real=ROOT,
    ),
    Attack("poisons-our-interpreter", Harm.OUTSIDE, "open(bait['visible'] + '/precious', 'a').write('x')", poisoned),
    Attack(
        "mounts-itself-a-way",
        Harm.OUTSIDE,
        """
libc.unshare(0x10000000 | 0x00020000)
here = os.path.join(bait['visible']).encode()
libc.mount(here, here, None, 0x1000, None)
libc.mount(None, here, None, 0x1020, None)
libc.mount(None, b'/', None, 0x1020, None)
open(bait['visible'] + '/precious', 'a').write('x')
""",
        poisoned,
        tame=False,
    ),
    Attack(
        "writes-to-the-terminal",
        Harm.OUTSIDE,
        "file = os.open(bait['terminal'], os.O_WRONLY | os.O_NOCTTY); os.write(file, b'spoof')",
        terminal_written,
    ),
    Attack(
        "changes-modes-outside", Harm.MODES, "os.chmod(bait['home'] + '/.ssh/id_rsa', 0o777)", World.outside_changed
    ),
    Attack(
        "changes-times-outside", Harm.MODES, "os.utime(bait['outside'] + '/precious', (0, 0))", World.outside_changed
    ),
    reading("reads-the-key", "print(open(bait['home'] + '/.ssh/id_rsa').read())"),
    reading("reads-the-key-by-a-link", "os.symlink(bait['home'], 'me'); print(open('me/.ssh/id_rsa').read())"),
    reading("links-the-key", "os.link(bait['home'] + '/.ssh/id_rsa', 'key'); print(open('key').read())"),
    reading(
        "reads-the-key-by-descriptor",
        "print(os.listdir(os.open('../../home/.ssh', 0))); print(open('../../home/.ssh/id_rsa').read())",
    ),
    Attack("reads-the-shadow-file", Harm.HOME, "print(open('/etc/shadow').read())", shadow_shown, real=ROOT),
    git("writes-a-hook", "os.makedirs('.git/hooks', exist_ok=True); open('.git/hooks/post-checkout', 'w').write('x')"),
    git("writes-the-git-configuration", "open('.git/config', 'a').write('[core] fsmonitor = ./harm')"),
    git(
        "writes-attributes",
        "os.makedirs('.git/info', exist_ok=True); open('.git/info/attributes', 'w').write('* filter=x')",
    ),
    git("writes-commondir", "open('.git/commondir', 'w').write('../fake')"),
    git("deletes-git", "shutil.rmtree('.git')"),
    git("renames-git", "os.rename('.git', 'git2')"),
    git("replaces-git-by-a-link", "os.mkdir('fake'); shutil.move('.git', 'git2'); os.symlink('fake', '.git')"),
    git("writes-git-by-a-hard-link", "os.link('.git/config', 'c'); open('c', 'a').write('[core] fsmonitor = ./harm')"),
    git("writes-git-by-a-link", "os.symlink('.git', 'g'); open('g/config', 'a').write('[core] fsmonitor = ./harm')"),
    git("writes-git-by-its-full-path", "open(bait['repository'] + '/.git/HEAD', 'w').write('ref: refs/heads/harm')"),
    git("changes-modes-in-git", "os.chmod('.git/config', 0o777)"),
    git(
        "unmounts-the-protection",
        """
subprocess.run(['unshare', '-Urm', 'umount', '.git'], stderr=subprocess.DEVNULL)
libc.umount2(b'.git', 2)
open('.git/config', 'a').write('[core] fsmonitor = ./harm')
""",
    ),
    git(
        "commits-with-git", "subprocess.run('git add . && git -c user.name=a -c user.email=b commit -qm x', shell=True)"
    ),
    Attack(
        "writes-our-settings",
        Harm.SETTINGS,
        "open(bait['root'] + '/config/config.toml', 'a').write('engine = \"evil\"')",
        settings_changed,
    ),
    Attack(
        "makes-our-missing-folder",
        Harm.SETTINGS,
        "os.makedirs(bait['root'] + '/state'); open(bait['root'] + '/state/x', 'w').write('x')",
        settings_changed,
    ),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_files(world: World, attack: Attack) -> None:
    if not attack.tame and attack.harm not in world.sandbox.stops:
        pytest.skip("too wild to let it happen")
    inherited = os.open(world.outside, os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        await world.play(attack.code, timeout=attack.seconds)
    finally:
        os.close(inherited)
    attack.judge(world)


@pytest.mark.skipif(not ROOT, reason="only root can give a program away")
async def test_a_setuid_program_gives_no_rights(world: World) -> None:
    program, secret = world.visible / "cat", world.visible / "secret"
    world.visible.chmod(0o755)
    program.write_bytes(Path("/bin/cat").read_bytes())
    secret.write_text(world.token)
    for path, mode in ((program, 0o4755), (secret, 0o600)):
        os.chown(path, 12345, 12345)
        path.chmod(mode)
    await world.play("subprocess.run([bait['visible'] + '/cat', bait['visible'] + '/secret'])")
    reachable = all(folder.stat().st_mode & 1 for folder in (world.visible, *world.visible.parents))
    assert world.learnt() is (reachable and Harm.OUTSIDE not in world.sandbox.stops), world.output


async def test_a_nested_repository_left_behind_runs_nothing_of_ours(world: World) -> None:
    from assistant.workspace.files import Workspace
    from assistant.workspace.git import repository

    marker = world.root / "marker"
    await world.play(f"""
subprocess.run(['git', 'init', '-q', 'nested'])
open('nested/.git/config', 'a').write('[core]\\n\\tfsmonitor = "touch {marker}; false"\\n')
open('nested/f', 'w').write('x')
""")
    assert (world.repository / "nested" / ".git" / "config").exists()
    found = repository(world.repository)
    assert found.root == world.repository
    assert Workspace(world.repository).list("*").paths
    assert not marker.exists()
    subprocess.run(["git", "status"], cwd=world.repository / "nested", capture_output=True, check=False)
    assert marker.exists(), "the bait does not bite"
