"""What a sandboxed command needs of the world around the repository: interpreters, caches, a clean environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

HOME_INSIDE = "/tmp/home"  # noqa: S108 - a directory of the sandbox's own /tmp
_PASSED = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "VIRTUAL_ENV"})
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_PASSED_WITH_NETWORK = frozenset({*_CERTIFICATES, *_PROXIES, *map(str.lower, _PROXIES)})
_NAME_SERVICE = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl/certs/ca-certificates.crt")
_FIXED = {
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
}
_OF_ITS_OWN = {"HOME": HOME_INSIDE, "TMPDIR": "/tmp"}  # noqa: S108
_OFFLINE = {"CARGO_NET_OFFLINE": "true", "GOPROXY": "off", "PIP_NO_INDEX": "1", "npm_config_offline": "true"}
_CACHES = {
    "PYENV_ROOT": (".pyenv",),
    "RUSTUP_HOME": (".rustup",),
    "CARGO_HOME": (".cargo/bin", ".cargo/registry", ".cargo/git"),
    "GOMODCACHE": ("go/pkg/mod",),
    "NVM_DIR": (".nvm/versions",),
}
_MORE = (".local/lib", ".local/share/uv/python", ".local/share/uv/tools", ".local/share/pipx/venvs")
_HIDDEN = ("/home", "/root", "/mnt", "/media", "/tmp", "/var/tmp", "/run")  # noqa: S108
_VENVS = (".venv", "venv")


def command_path(environ: Mapping[str, str], repository: Path, *, sandboxed: bool) -> str:
    """PATH for commands: the repository's own environment first (only in a sandbox), our interpreter last."""
    folders = (str(repository / name / "bin") for name in _VENVS)
    own = [folder for folder in folders if os.path.exists(f"{folder}/python")]  # noqa: PTH110 - this one never raises
    given = environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return ":".join([*(own if sandboxed else ()), given, str(Path(sys.executable).parent)])


def clean_environment(
    environ: Mapping[str, str], repository: Path, *, sandboxed: bool, network: bool = False, private: Path | None = None
) -> dict[str, str]:
    """The environment for commands: an allow-list of the user's, and settings that keep tools quiet and offline.

    `private` is the folder for temporary files where a sandbox has no /tmp of its own.
    """
    passed = _PASSED | _PASSED_WITH_NETWORK if network else _PASSED
    clean = {name: value for name, value in environ.items() if name in passed or name.startswith("LC_")}
    clean |= _FIXED | {"GIT_CONFIG_VALUE_0": str(repository)}
    clean["PATH"] = command_path(environ, repository, sandboxed=sandboxed)
    home = environ.get("HOME", "/")
    if sandboxed:
        inside = {"HOME": str(private / "home"), "TMPDIR": str(private)} if private else _OF_ITS_OWN
        clean |= ({} if network else _OFFLINE) | inside | _cache_variables(environ, Path(home))
    else:
        clean["HOME"] = home
    return clean


def hidden_directories(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Directories that a sandbox empties: homes, other disks, temporary files, and the sockets in /run."""
    names = [environ.get("HOME", "/root"), *_HIDDEN]
    found = {Path(name).resolve() for name in names if Path(name).is_dir()}
    return tuple(sorted(found - {Path("/")}))


def needed_paths(environ: Mapping[str, str], repository: Path, hidden: Iterable[Path]) -> tuple[Path, ...]:
    """What of the hidden directories stays readable, so that interpreters and their packages are found."""
    roots = tuple(hidden)
    home = Path(environ.get("HOME", "/root")).resolve()
    needed = {path for path in _candidates(environ, repository, home) if path.exists()}
    return tuple(sorted(path for path in needed if _revealable(path, roots, home)))


def network_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Files that names and certificates are looked up in, links resolved: they may lead into hidden directories."""
    named = [environ[name] for name in _CERTIFICATES if environ.get(name, "").startswith("/")]
    found = (Path(name).resolve() for name in (*_NAME_SERVICE, *named))
    return tuple(dict.fromkeys(path for path in found if path.exists()))


def is_under(path: Path, roots: Iterable[Path]) -> bool:
    """Whether `path` is one of `roots` or lies in one."""
    return any(path == root or root in path.parents for root in roots)


def _cache_variables(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    defaults = {name: home / paths[0].rpartition("/")[0] for name, paths in _CACHES.items() if len(paths) > 1}
    defaults |= {name: home / paths[0] for name, paths in _CACHES.items() if len(paths) == 1}
    defaults["NVM_DIR"] = home / ".nvm"
    return {name: environ.get(name, str(path)) for name, path in defaults.items() if path.is_dir()}


def _candidates(environ: Mapping[str, str], repository: Path, home: Path) -> Iterator[Path]:
    yield from (Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).parent)
    yield from (home / path for paths in _CACHES.values() for path in paths)
    yield from (home / path for path in _MORE)
    if environ.get("VIRTUAL_ENV"):
        yield Path(environ["VIRTUAL_ENV"])
    for entry in command_path(environ, repository, sandboxed=True).split(":"):
        if entry.startswith("/"):
            yield from _of_path_entry(Path(entry))


def _of_path_entry(directory: Path) -> Iterator[Path]:
    yield directory
    if directory.name == "shims" or (directory.name == "bin" and (directory.parent / "lib").is_dir()):
        yield directory.parent
    for name in ("python", "python3", "node"):
        program = directory / name
        if os.path.exists(program) and (prefix := program.resolve().parent.parent) != Path("/usr"):  # noqa: PTH110
            yield prefix


def _revealable(path: Path, hidden: tuple[Path, ...], home: Path) -> bool:
    """Only what is hidden, and never a whole home, a hidden directory, or a place where programs keep secrets."""
    if not is_under(path, hidden) or path in hidden:
        return False
    if home in (path, *path.parents) and path.parent == home and path.name in {".local", ".cargo", ".config"}:
        return False
    return path != home and path not in home.parents
