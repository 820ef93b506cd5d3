"""What goes into a prompt: a prefix that never changes, then a transcript that only grows.

Byte-stable by construction, so that the engine's prefix cache serves every step but its last turn. What is of passing
interest (a note of the loop, words of the user between two steps) becomes a turn of its own, never a tail that the next
prompt lacks. Only compaction (`assistant.compaction`) writes the transcript anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from assistant.workspace.errors import WorkspaceError
from assistant.workspace.files import Workspace
from model.format import Reply, ToolCall
from model.prompt import Message

ProfileName = Literal["compact", "full"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How much a model of one size is told.

    `files` are named in the prompt; `output` is characters of a result; `instructions` are those of AGENTS.md and its
    kind; `readme` is characters of the README that go with the first message, for models too small to go and read it;
    `map` is tokens of the repository map (our choice; 0: none).
    """

    name: ProfileName
    files: int
    output: int
    instructions: int
    readme: int = 0
    map: int = 0


PROFILES: dict[ProfileName, Profile] = {
    "compact": Profile("compact", files=5, output=2_000, instructions=600, readme=400),
    "full": Profile("full", files=80, output=12_000, instructions=8_000, map=1_024),
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


def output_limit(profile: Profile, context: int | None) -> int:
    """Characters of a result: the profile's, but no more than about an eighth of the context (our choice)."""
    return profile.output if context is None else min(profile.output, context * 3 // 8)


def system_text(
    profile: Profile, repository: str, files: Sequence[str], test_command: str | None, repo_map: str = ""
) -> str:
    """The system message: the profile's text with the facts of the repository filled in, and `repo_map` behind them.

    The map is cut to `profile.map` tokens by whoever makes it; a profile without room for one shows none. Beside a map
    a quarter of the files is listed (our choice).
    """
    mapped = bool(repo_map and profile.map)
    listed = profile.files // 4 if mapped else profile.files
    shown = [path for path in files if not path.startswith(".")][:listed]
    if len(files) > len(shown):
        shown.append(f"… and {len(files) - len(shown)} more")
    text = prompt_text(profile.name).format(
        repository=repository,
        tests=test_command or "unknown, look for them",
        files="\n".join(shown) or "(none yet)",
        count=len(files),
    )
    return f"{text}\n\n{prompt_text('map')}\n{repo_map}" if mapped else text


def first_message(profile: Profile, workspace: Workspace, instructions: str) -> str:
    """How the user's first message is put to the model: behind the README, where the profile wants it and there is one,
    and the repository's instructions.
    """
    readme = _readme(profile, workspace)
    message = prompt_text("first_message").replace("{readme}", _inert(readme)) if readme else _MESSAGE
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


TurnKind = Literal["user", "steer", "note", "reply", "result", "summary", "facts"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of the transcript, and where it comes from.

    `user` and `steer` are the user's own words, `note` is the loop's; `summary` and `facts` stand for what compaction
    took out. `step` is the one of a reply, `call` the id of the call that a result answers, like ``4.1``. `whole` is
    the length in characters of a result that was shortened, 0 where it is as it was.
    """

    kind: TurnKind
    message: Message
    step: int = 0
    call: str = ""
    whole: int = 0

    def as_record(self) -> dict[str, Any]:
        """As the journal keeps it."""
        message = self.message
        calls = [
            {"name": call.name, "arguments": call.arguments, "raw": call.raw, "error": call.error}
            for call in message.calls
        ]
        where = {"step": self.step, "call": self.call, "whole": self.whole}
        return {"kind": self.kind, "role": message.role, "content": message.content, "calls": calls, **where}


def turn_of(record: Mapping[str, Any]) -> Turn:
    """The turn that `Turn.as_record` wrote."""
    calls = tuple(
        ToolCall(call["name"], call["arguments"], call.get("raw", ""), call.get("error"))
        for call in record.get("calls", ())
    )
    message = Message(record["role"], record["content"], calls)
    return Turn(record["kind"], message, record.get("step", 0), record.get("call", ""), record.get("whole", 0))


@dataclass(slots=True)
class Transcript:
    """The conversation as the model sees it. It only grows; an assistant's turn is its answer and its calls.

    `first` is what the user's first message is put into.
    """

    system: str
    first: str = _MESSAGE
    turns: list[Turn] = field(default_factory=list)

    def user(self, text: str) -> None:
        """The user said something."""
        self._said("user", text if self.turns else self.first.replace(_MESSAGE, text))

    def steer(self, text: str) -> None:
        """The user said something between two steps of a run."""
        self._said("steer", text)

    def note(self, text: str) -> None:
        """The loop tells the model something that nobody said."""
        self._said("note", text)

    def reply(self, reply: Reply, step: int = 0) -> None:
        """The model replied in step `step`; judge and thought stay behind, as KAT's template has it."""
        self.turns.append(Turn("reply", Message("assistant", reply.answer, reply.calls), step))

    def result(self, output: str, call: str = "") -> None:
        """A tool answered call `call` of the last reply; results stand in the order of the calls, whenever they come.

        Without `call` it is the next one's.
        """
        reply, end = self._last_reply()
        number = _number(call) or end - reply
        later = (n for n in range(reply + 1, end) if _number(self.turns[n].call) > number)
        step = self.turns[reply].step if reply >= 0 else 0
        self.turns.insert(next(later, end), Turn("result", Message("tool", output), step, call or f"{step}.{number}"))

    def unanswered(self) -> bool:
        """The run is over: what the user said last is taken back if no reply came, and each call has a result.

        Says whether something was taken back.
        """
        taken = bool(self.turns) and self.turns[-1].kind == "user"
        if taken:
            self.turns.pop()
        reply, end = self._last_reply()
        calls = self.turns[reply].message.calls if reply >= 0 else ()
        for _ in calls[end - reply - 1 :]:
            self.result(UNKNOWN)
        return taken

    @property
    def messages(self) -> list[Message]:
        """Everything, the system message first."""
        return [Message("system", self.system), *(turn.message for turn in self.turns)]

    def _said(self, kind: TurnKind, text: str) -> None:
        self.turns.append(Turn(kind, Message("user", text)))

    def _last_reply(self) -> tuple[int, int]:
        """The place of the last reply (-1: none), and the one behind its results."""
        reply = next((n for n in range(len(self.turns) - 1, -1, -1) if self.turns[n].kind == "reply"), -1)
        end = reply + 1
        while end < len(self.turns) and self.turns[end].kind == "result":
            end += 1
        return reply, end


def _number(call: str) -> int:
    """The place of a call in its reply, from 1; 0 where its id does not say."""
    number = call.rpartition(".")[2]
    return int(number) if number.isdecimal() else 0


def prompt_text(name: str) -> str:
    """The text of a file in `assistant/prompts`."""
    return resources.files("assistant").joinpath("prompts", f"{name}.md").read_text("utf-8").strip()
