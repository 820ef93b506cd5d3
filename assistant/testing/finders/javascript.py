"""JavaScript and TypeScript: the test script by the package manager that the lock file names, or the runner itself."""

from __future__ import annotations

import re

from assistant.testing.finders.place import Found, Place

_LOCKS = {"pnpm-lock.yaml": "pnpm", "yarn.lock": "yarn", "bun.lock": "bun", "bun.lockb": "bun"}
_VERBOSE = (("vitest", "--reporter=verbose"), (r"jest|react-scripts test", "--verbose"))
"""Options with which a runner names every test."""
_CONFIGURED = (
    (("vitest.config.*", "vitest.workspace.*"), "npx vitest run --reporter=verbose"),
    (("jest.config.*",), "npx jest --verbose"),
    ((".mocharc*",), "npx mocha"),
)


def find(place: Place) -> Found | None:
    """A package with a test script, or the settings of a runner."""
    script = place.json("package.json", "scripts", "test")
    if isinstance(script, str) and "no test specified" not in script:
        return Found(_script(_program(place), script), "package.json")
    for patterns, command in _CONFIGURED:
        if name := place.matching(*patterns):
            return Found(command, name)
    return None


def find_deno(place: Place) -> Found | None:
    """A project of Deno."""
    name = place.has("deno.json", "deno.jsonc")
    if not name:
        return None
    task = re.search(r'"test"\s*:', place.text(name).partition('"tasks"')[2])
    return Found("deno task test" if task else "deno test -A", name)


def _program(place: Place) -> str:
    named = str(place.json("package.json", "packageManager") or "").partition("@")[0]
    lock = place.has(*_LOCKS)
    return named if named in _LOCKS.values() else _LOCKS.get(lock, "npm")


def _script(program: str, script: str) -> str:
    """The test script, with an option behind it if the last thing it runs is a runner that knows that one."""
    command = "bun run test" if program == "bun" else f"{program} test"
    last = re.split(r"&&|\|\||[;|]", script)[-1]
    for runner, option in _VERBOSE:
        if re.search(rf"(?:^|[\s/])(?:{runner})(?:\s|$)", last) and not re.search(r"reporter|verbose|silent", last):
            return f"{command} -- {option}" if program == "npm" else f"{command} {option}"
    return command
