"""Git on folders of our own: no hook, filter, attribute or setting of the user's takes part."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from assistant.errors import UserError

ATTRIBUTES = "* -text -filter -ident -working-tree-encoding\n"
"""For `.git/info/attributes`: bytes stay as they are, whatever the repository's own attributes say."""
_OPTIONS = ("core.hooksPath=/dev/null", "core.attributesFile=/dev/null", "core.quotePath=false", "core.autocrlf=false")
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "KAT Pilot",
    "GIT_AUTHOR_EMAIL": "kat@localhost",
    "GIT_COMMITTER_NAME": "KAT Pilot",
    "GIT_COMMITTER_EMAIL": "kat@localhost",
}
_TIMEOUT = 300.0
_NONE: Mapping[str, str] = {}


def plain_git(
    folder: Path, *arguments: str, failing: str, stdin: bytes = b"", variables: Mapping[str, str] = _NONE
) -> str:
    """What git prints in `folder`; bytes that are no UTF-8 are surrogates. `failing` says what could not be done.

    Raises:
        UserError: git failed; its reason stands behind `failing`.
    """
    options = (word for option in _OPTIONS for word in ("-c", option))
    done = subprocess.run(
        ["git", *options, *arguments],
        cwd=folder,
        env={"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT, **variables},
        input=stdin,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        reason = next(iter(done.stderr.decode(errors="replace").strip().splitlines()), "no reason given")[:200]
        raise UserError(f"{failing}: {reason}")
    return done.stdout.decode("utf-8", "surrogateescape")
