"""Opens a session: engine, sandbox, permissions, snapshots, journal, and the beginning of the prompt."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from assistant.calling import CallRunner
from assistant.compaction import Compactor
from assistant.config import Settings, config_dir, state_dir
from assistant.context import PROFILES, first_message, output_limit, profile_for, system_text
from assistant.ending import Limits
from assistant.events import Notice
from assistant.instructions import fenced, find_instructions
from assistant.outage import patience
from assistant.pilot import Pilot
from assistant.safety.choice import sandbox_for
from assistant.safety.permissions import Permissions
from assistant.safety.rules import RuleFile
from assistant.safety.sandbox import Sandbox
from assistant.safety.sanitize import sanitize
from assistant.safety.secrets import known_secrets
from assistant.sampling import sampling_of
from assistant.sessions import sessions_dir
from assistant.sessions.remembering import remembered
from assistant.sessions.replay import thought_so_far
from assistant.sessions.resuming import Beginning, Prefix, begin, resume
from assistant.step import StepRunner
from assistant.testing.commands import find_test_command
from assistant.think import Policy
from assistant.tools.base import ToolContext
from assistant.tools.toolbox import Toolbox, toolbox_for
from assistant.trail import Trail
from assistant.undo import Undo
from assistant.workspace.files import Workspace
from assistant.workspace.outline import roughly
from assistant.workspace.repomap import RepoMap, first_map
from assistant.workspace.snapshots import Snapshots, store_of
from model.budget import Budget, thought_of
from model.dialects import dialect
from model.engine import Engine, EngineInfo
from model.engines.lasting import Lasting
from model.format import ThinkRequest
from model.prompt import Dialect
from model.serving.supervision.running import servers_directory


@dataclass(frozen=True, slots=True)
class Draws:
    """Steps of one message, and how tokens are drawn, for engines of one kind (our choice)."""

    steps: int
    reply_tokens: int
    temperature: float


DRAWS = Draws(steps=50, reply_tokens=8_192, temperature=0.6)
EMBEDDED_DRAWS = Draws(steps=6, reply_tokens=700, temperature=0.0)
"""A model of 135M parameters goes astray soon: few, short steps, and always its likeliest word."""

_MAX_FILES = 100_000
MAP_SECONDS = 0.5
"""What a session's beginning may wait for the map of the repository; our choice."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session works.

    `named` is the repository that people see, where `repository` is a copy of it. `folder` is the one whose
    instructions count before those of the folders above it. `snapshots` keeps the snapshots, where it is not the usual
    folder. `resumed` is the journal of a session that goes on.
    """

    repository: Path
    named: Path | None = None
    folder: Path | None = None
    snapshots: Path | None = None
    resumed: Path | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def shown(self) -> Path:
        """The repository that people see."""
        return self.named or self.repository

    @property
    def state(self) -> Path:
        """Where sessions and snapshots are kept."""
        return state_dir(self.environ)

    @property
    def start(self) -> str:
        """The folder that the user works in, relative to the repository."""
        return os.path.relpath((self.folder or self.repository).resolve(), self.repository.resolve())

    @property
    def maps(self) -> Path:
        """Where what repositories define is kept."""
        return self.state / "maps"

    def kept(self) -> Snapshots:
        """The snapshots of the repository."""
        return Snapshots(self.repository, self.snapshots or store_of(self.state, self.repository))


async def open_pilot(
    place: Place,
    engine: Engine,
    settings: Settings,
    *,
    allow: tuple[str, ...] = (),
    interactive: bool = True,
    sandbox: Sandbox | None = None,
) -> Pilot:
    """A session in `place` with an engine that is already open, and is closed if there is no session.

    Raises:
        EngineError: the engine does not answer.
        UserError: the session cannot be written, or not be gone on with.
    """
    try:
        if sandbox is None:
            sandbox = await asyncio.to_thread(sandbox_for, place.repository, settings, place.environ)
        kept = RuleFile(config_dir(place.environ), place.shown)
        permissions = Permissions(allow, interactive=interactive, sandboxed=sandbox.contains, undoable=True, kept=kept)
        return await _opened(place, engine, settings, permissions, sandbox)
    except BaseException:
        await engine.aclose()
        raise


async def _opened(
    place: Place, engine: Engine, settings: Settings, permissions: Permissions, sandbox: Sandbox
) -> Pilot:
    info = await engine.info()
    draws = EMBEDDED_DRAWS if info.name == "embedded" else DRAWS
    workspace = Workspace(place.repository, known_as=place.named)
    test_command = settings.test_command or await asyncio.to_thread(find_test_command, workspace, place.environ)
    beginning = await asyncio.to_thread(_beginning, place, settings, info, workspace, test_command)
    toolbox = toolbox_for(settings, beginning.profile, place.repository, place.environ)
    try:
        undo = await asyncio.to_thread(lambda: Undo(place.kept(), beginning.journal, beginning.records))
    except BaseException:
        beginning.journal.close()
        raise
    tools = ToolContext(
        workspace,
        sandbox,
        test_command,
        settings.command_timeout,
        output_limit(PROFILES[beginning.profile], info.context),
        remembered(beginning.records, workspace),
        network=settings.sandbox_network,
        repo_map=RepoMap(workspace, place.maps) if PROFILES[beginning.profile].map else None,
    )
    lasting = Lasting(engine, patience(info.name, servers_directory(place.environ)))
    runner = _runner(lasting, info, settings, draws, beginning, toolbox, tools, permissions, undo)
    lasting.tell = runner.heard_of_engine
    limits = Limits(settings.max_steps or draws.steps, settings.run_tokens, settings.run_seconds)
    told = _with_problem(beginning, permissions.problem)
    return Pilot(runner, limits, place.shown, told, interactive=permissions.interactive, toolbox=toolbox)


def _runner(
    engine: Engine,
    info: EngineInfo,
    settings: Settings,
    draws: Draws,
    beginning: Beginning,
    toolbox: Toolbox,
    tools: ToolContext,
    permissions: Permissions,
    undo: Undo,
) -> StepRunner:
    spoken, specs = dialect(info.dialect), toolbox.specs()
    sampling = sampling_of(settings, info.model, draws.temperature, draws.reply_tokens)
    compact = beginning.profile == "compact"
    calling = CallRunner(
        tools=tools,
        read=toolbox.read,
        readable=not compact,
        permissions=permissions,
        journal=beginning.journal,
        undo=undo,
        policy=_policy(settings, spoken, compact=compact),
        trail=Trail(tools.workspace, settings.session_think_budget, thought_so_far(beginning.records)),
        stop=asyncio.Event(),
    )
    return StepRunner(
        engine=engine,
        info=info,
        dialect=spoken,
        sampling=sampling,
        budget=Budget(settings.judge_budget, thought_of(sampling.max_tokens, settings.think_budget)),
        specs=specs,
        calling=calling,
        transcript=beginning.transcript,
        compactor=Compactor(engine, spoken, specs, sampling, info.context, by_model=not compact, readable=not compact),
    )


def _policy(settings: Settings, spoken: Dialect, *, compact: bool) -> Policy:
    """The rules in force. A model that has no switch, or is too small to gain by a thought, is never held."""
    switches = spoken.render((), (), ThinkRequest.ON, "").think is ThinkRequest.ON
    policy = Policy.of(settings.think_rules, settings.think_without)
    return policy if switches and not compact else replace(policy, holds=frozenset())


def _beginning(
    place: Place, settings: Settings, info: EngineInfo, workspace: Workspace, test_command: str | None
) -> Beginning:
    """A new journal, or the one that goes on."""
    profile, new = profile_for(settings.profile, info.context), place.resumed is None
    instructions = find_instructions(workspace, place.start, profile.instructions)
    files = workspace.list(limit=_MAX_FILES).paths
    found = first_map(workspace, place.maps, profile.map, roughly, MAP_SECONDS) if profile.map and new else ""
    system = system_text(profile, place.shown.name, files, test_command, found)
    prefix = Prefix(system, first_message(profile, workspace, fenced(instructions)), profile.name)
    secrets = (word for server in settings.mcp for word in server.secrets)
    known = known_secrets(settings.api_key, place.environ, secrets)
    if place.resumed is not None:
        return resume(place.resumed, place.shown, info, prefix, known)
    notices = tuple(one.notice for one in instructions)
    return begin(sessions_dir(place.state), place.shown, info, prefix, known, notices)


def _with_problem(beginning: Beginning, problem: str) -> Beginning:
    """Tell first what is wrong with the kept rules, if anything is."""
    if not problem:
        return beginning
    notice = Notice("warning", f"{sanitize(problem)}.")
    return replace(beginning, history=(*beginning.history, notice), notices=(notice, *beginning.notices))
