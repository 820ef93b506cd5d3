"""Where a fix is worked out: the user's repository, which is only read, and throw-away views of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.fix.changes import Changes
from assistant.fix.request import FixRequest
from assistant.fix.views import Views
from assistant.safety.sandbox import Sandbox
from assistant.testing.report import TestReport
from assistant.testing.run import run_tests
from assistant.workspace.files import Workspace

_NOTHING = Changes()


@dataclass(frozen=True, slots=True)
class Bench:
    """A repository, the sandbox over it, and the command that runs its tests.

    Whatever runs here runs in a throw-away view: nothing of the repository is ever written.
    """

    request: FixRequest
    workspace: Workspace
    sandbox: Sandbox
    views: Views
    command: str

    async def tests(
        self,
        changes: Changes = _NOTHING,
        *,
        command: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the report says that time ran out
        env: Mapping[str, str] | None = None,
        show: Sequence[Path] = (),
        harvest: Callable[[Path], None] | None = None,
    ) -> TestReport:
        """Run the tests, or another command that runs some of them, on the repository with `changes`.

        `timeout` is seconds, by default the request's `test_timeout`; `env` is added to the environment; folders in
        `show` can be read inside. `harvest` gets a folder with what the run wrote into the repository (at the same
        relative paths, and perhaps more) before that vanishes.
        """
        with self.views.layers(changes) as layers:
            return await run_tests(
                self.sandbox,
                self.workspace,
                command or self.command,
                timeout=timeout or self.request.test_timeout,
                throwaway=True,
                layers=layers,
                env=env,
                show=show,
                harvest=harvest,
            )
