"""Where a server listens: a Unix socket of the user's own, or the loopback interface behind a key."""

from __future__ import annotations

import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from model.serving.plan import Endpoint

KEY_BYTES = 32
_LONGEST = 103
"""Bytes of a socket's path: Linux takes 107, macOS 103."""
_OTHERS = 0o077


class BadEndpoint(ValueError):
    """A server cannot listen there; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the user wants it: a socket, or a host and port. All None is a socket with the model's name."""

    socket: Path | None = None
    host: str | None = None
    port: int | None = None


def endpoint_for(place: Place, name: str, environ: Mapping[str, str], *, sockets: bool = True) -> Endpoint:
    """Where the server of that name listens; on a port it gets a new key, also on the loopback interface.

    Whoever may not use `sockets` (some servers cannot) gets a free port. Raises `BadEndpoint`.
    """
    if place.socket is not None and (place.host is not None or place.port is not None):
        raise BadEndpoint("--socket goes without --host and --port; leave one of them out")
    if place.host is None and place.port is None and (sockets or place.socket):
        return Endpoint(socket=checked_socket(place.socket or runtime_directory(environ) / f"{name}.sock"))
    host = (place.host or "127.0.0.1").removeprefix("[").removesuffix("]")
    key = environ.get("KAT_API_KEY") or secrets.token_urlsafe(KEY_BYTES)
    return Endpoint(host=host, port=place.port or free_port(host), key=key)


def runtime_directory(environ: Mapping[str, str]) -> Path:
    """A folder for sockets that is the user's alone: below XDG_RUNTIME_DIR, else below the one for temporary files."""
    if (given := environ.get("XDG_RUNTIME_DIR")) and os.access(given, os.W_OK):
        return Path(given) / "kat"
    return Path(environ.get("TMPDIR") or tempfile.gettempdir()) / f"kat-{os.getuid()}"


def checked_socket(path: Path) -> Path:
    """The absolute path, where a socket can be made.

    Raises:
        BadEndpoint: it is too long, or something else is there.
    """
    path = path.expanduser().absolute()
    if len(os.fsencode(path)) > _LONGEST:
        raise BadEndpoint(f"{path} is too long for a socket ({_LONGEST} bytes at most); give a shorter one by --socket")
    if path.exists() and not path.is_socket():
        raise BadEndpoint(f"{path} is there already and is no socket; give another path by --socket")
    return path


def prepare(endpoint: Endpoint) -> None:
    """Make the socket's folder, which nobody else may enter, and take away a socket that a dead server left.

    Raises:
        BadEndpoint: the folder is open to others, somebody listens there, the port is taken, or the host is none of
            this machine's.
    """
    if endpoint.socket is None:
        free_port(endpoint.host)
        if is_taken(endpoint):
            raise BadEndpoint(f"port {endpoint.port} is taken by another program; choose another one with --port")
        return
    _private_folder(endpoint.socket.parent)
    if is_taken(endpoint):
        raise BadEndpoint(f"another server listens on {endpoint.socket}; choose another path with --socket")
    endpoint.socket.unlink(missing_ok=True)


def is_taken(endpoint: Endpoint) -> bool:
    """Whether somebody listens there."""
    family = socket.AF_UNIX if endpoint.socket else _family(endpoint.host)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(endpoint.socket) if endpoint.socket else (reached_by(endpoint.host), endpoint.port))
        except OSError:
            return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def reached_by(host: str) -> str:
    """What to connect to where a server binds `host`: every interface is reached by the loopback one."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def free_port(host: str) -> int:
    """A port that nobody has now.

    Raises:
        BadEndpoint: the host is none of this machine's.
    """
    try:
        with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise BadEndpoint(f"cannot listen on {host} ({error.strerror}); give an address of this machine") from None


def local(endpoint: Endpoint) -> Endpoint:
    """As clients on this machine reach it."""
    return replace(endpoint, host=reached_by(endpoint.host))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _private_folder(folder: Path) -> None:
    """A folder that is there is taken if it is the user's and closed to others; the sockets in it are not protected."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise BadEndpoint(
            f"no socket can be made in {folder} ({error.strerror}); give another path by --socket"
        ) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & _OTHERS:
        raise BadEndpoint(
            f"{folder} is open to others, and so would the server be; give --socket a path in a folder that only you "
            "may enter (mode 0700)"
        )
