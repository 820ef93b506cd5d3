"""What goes into a prompt: a prefix that never changes, then a transcript that only grows.

Byte-stable by construction, so that the engine's prefix cache serves every step but its last turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Literal

from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace
from model.format import Reply
from model.prompt import Message

ProfileName = Literal["compact", "full"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How much a model of one size is told.

    `files` are named in the prompt; `output` is characters of a result; `instructions` are those of AGENTS.md and its
    kind; `readme` is characters of the README that go with the first message, for models too small to go and read it.
    """

    name: ProfileName
    files: int
    output: int
    instructions: int
    readme: int = 0


PROFILES: dict[ProfileName, Profile] = {
    "compact": Profile("compact", files=5, output=2_000, instructions=600, readme=400),
    "full": Profile("full", files=80, output=12_000, instructions=8_000),
}
SMALL_CONTEXT = 16_384
"""Tokens of context up to which a model gets the compact profile (our choice)."""


_MESSAGE = "{message}"
UNKNOWN = (
    "Error: the outcome of this call is unknown: the run broke off, and it may have been done in part, in whole or "
    "not at all. Look at what is there before you do it again."
)


def profile_for(name: ProfileName | None, context: int | None) -> Profile:
    """The profile asked for, else the one that suits a context of so many tokens."""
    if name is None:
        name = "compact" if context is not None and context <= SMALL_CONTEXT else "full"
    return PROFILES[name]


def system_text(profile: Profile, repository: str, files: Sequence[str], test_command: str | None) -> str:
    """The system message: the profile's text with the facts of the repository filled in."""
    shown = [path for path in files if not path.startswith(".")][: profile.files]
    if len(files) > len(shown):
        shown.append(f"… and {len(files) - len(shown)} more")
    return _text(profile.name).format(
        repository=repository,
        tests=test_command or "unknown, look for them",
        files="\n".join(shown) or "(none yet)",
        count=len(files),
    )


def first_message(profile: Profile, workspace: Workspace, instructions: str) -> str:
    """How the user's first message is put to the model: behind the README, where the profile wants it and there is one,
    and the repository's instructions.
    """
    readme = _readme(profile, workspace)
    message = _text("first_message").replace("{readme}", _inert(readme)) if readme else _MESSAGE
    return f"{_inert(instructions)}\n\n{message}" if instructions else message


def _readme(profile: Profile, workspace: Workspace) -> str:
    if not profile.readme:
        return ""
    try:
        words = workspace.read("README.md").text.lstrip("# ").split()
    except WorkspaceError:
        return ""
    return " ".join(words)[: profile.readme]


def _inert(text: str) -> str:
    """`text` in which nothing marks the place of the user's message."""
    return text.replace(_MESSAGE, "{ message }")


@dataclass(slots=True)
class Transcript:
    """The conversation as the model sees it. It only grows; an assistant's turn is its answer and its calls.

    `first` is what the user's first message is put into.
    """

    system: str
    first: str = _MESSAGE
    turns: list[Message] = field(default_factory=list)

    def user(self, text: str) -> None:
        """The user said something."""
        self.turns.append(Message("user", text if self.turns else self.first.replace(_MESSAGE, text)))

    def reply(self, reply: Reply) -> None:
        """The model replied; judge and thought stay behind, as KAT's template has it."""
        self.turns.append(Message("assistant", reply.answer, reply.calls))

    def result(self, output: str) -> None:
        """A tool answered."""
        self.turns.append(Message("tool", output))

    def unanswered(self) -> None:
        """The run is over: what the user said last is taken back if no reply came, and each call has a result."""
        if self.turns and self.turns[-1].role == "user":
            self.turns.pop()
        results = next((n for n, turn in enumerate(reversed(self.turns)) if turn.role != "tool"), 0)
        calls = self.turns[-1 - results].calls if self.turns else ()
        for _ in calls[results:]:
            self.result(UNKNOWN)

    @property
    def messages(self) -> list[Message]:
        """Everything, the system message first."""
        return [Message("system", self.system), *self.turns]


def _text(name: str) -> str:
    return resources.files("assistant").joinpath("prompts", f"{name}.md").read_text("utf-8").strip()
