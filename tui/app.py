"""The terminal program: it shows what an agent says and passes on what the user wants. It never calls a model."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.timer import Timer

from assistant.agent import Agent, AgentFactory
from assistant.errors import UserError
from assistant.events import Event
from model.format import Mode, ThinkRequest
from tui.commands import entries, prefer, run_command
from tui.conversation import Conversation, Errand
from tui.presenter import Parts, Presenter
from tui.screens.help import HelpScreen, Section
from tui.shelf import FolderShelf, NamedPrompt, NoShelf, Shelf
from tui.theme import DARK, LIGHT, VARIABLES
from tui.widgets.approval import ApprovalPanel
from tui.widgets.asking import Typed
from tui.widgets.fold import Fold
from tui.widgets.fork import ForkView
from tui.widgets.messages import Greeting
from tui.widgets.plan import PlanView
from tui.widgets.prompt import Prompt
from tui.widgets.question import QuestionPanel
from tui.widgets.queue import QueueView
from tui.widgets.status import Activity, StatusBar
from tui.widgets.transcript import Transcript

FLUSH_SECONDS = 0.05
"""Time between two renderings of streamed text."""

QUIT_SECONDS = 2.0
"""How soon a second Ctrl+C must follow the first."""

_KILLED = 128
"""Added to a signal's number, it is the exit status of who ended by it."""

_CYCLE = (ThinkRequest.AUTO, ThinkRequest.ON, ThinkRequest.OFF)


class KatApp(App[int]):
    """A conversation in a repository. The agent is opened after the first paint."""

    CSS_PATH = Path(__file__).parent / "styles" / "kat.tcss"
    TITLE = "KAT Pilot"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-wide")]  # noqa: RUF012 - declared so by Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (14, "-tall"), (40, "-high")]  # noqa: RUF012 - declared so by Textual
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop after this step; again: stop at once; else empty the prompt"),
        Binding("ctrl+g", "enough", "Enough thinking: answer now"),
        Binding("ctrl+b", "background", "Send the command that runs to the background"),
        Binding("ctrl+t", "cycle_think", "Think auto, on, off"),
        Binding("ctrl+o", "toggle_thinking", "Open or close all thinking"),
        Binding("pageup", "scroll_transcript(-1)", "Scroll the conversation"),
        Binding("pagedown", "scroll_transcript(1)", "Scroll the conversation"),
        Binding("f1", "show_help", "Keys and commands"),
        Binding("ctrl+q", "quit", "Quit", priority=True),
        Binding("ctrl+c", "help_quit", "Copy the selection; twice quits", system=True),
    ]

    def __init__(
        self,
        open_agent: AgentFactory,
        repository: Path,
        *,
        think: ThinkRequest = ThinkRequest.AUTO,
        first_prompt: str | None = None,
        greeting: str = "",
        version: str,
        shelf: Shelf | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__()
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.set_reactive(App.theme, DARK.name)  # here, for a change of theme later parses all styles again
        self.stylesheet.set_variables(self.get_css_variables())
        self._clock = clock
        self._last_interrupt = float("-inf")
        self._first_prompt = first_prompt
        self._greeting = Greeting(version, _short_path(repository), greeting)
        self._shelf = shelf or NoShelf()
        self.transcript = Transcript()
        self.plan = PlanView()
        self.approval = ApprovalPanel(clock)
        self.question = QuestionPanel(clock)
        self.waiting = QueueView()
        self.prompt = Prompt(entries({}), lambda: self.conversation.unqueue())
        self.status = StatusBar(clock)
        self.status.set_reactive(StatusBar.think, think)
        self.presenter = Presenter(self._parts(), clock)
        self.conversation = Conversation(open_agent, self.presenter)
        self._flusher: Timer | None = None

    def _parts(self) -> Parts:
        return Parts(self.transcript, self.plan, self.approval, self.question, self.waiting, self.prompt, self.status)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our colours for themes that do not bring them."""
        return VARIABLES

    def compose(self) -> ComposeResult:
        """Transcript, plan, questions, queue, commands, prompt, status."""
        with self.transcript:
            yield self._greeting
        yield self.plan
        yield self.approval
        yield self.question
        yield self.waiting
        yield self.prompt.completions
        yield self.prompt
        yield self.status

    def on_mount(self) -> None:
        """Paint first, open the agent then."""
        self._leave_on_signals()
        self.prompt.focus()
        self._flusher = self.set_interval(FLUSH_SECONDS, self.presenter.flush)
        self._show_think(self.status.think)
        if self._first_prompt:
            self.conversation.send(self._first_prompt, self.status.think)
        self.call_after_refresh(self._open)

    def _leave_on_signals(self) -> None:
        """Leave in order when told to end: the terminal is restored and the session closed."""
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGHUP"):
            if (number := getattr(signal, name, None)) is None:
                continue
            with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
                loop.add_signal_handler(number, self._leave, _KILLED + number)

    def _leave(self, status: int) -> None:
        self.exit(status, return_code=status)

    def _open(self) -> None:
        self.run_worker(self.conversation.serve(), name="conversation", group="conversation", exclusive=True)
        self.run_worker(self.prompts(), name="prompts", group="prompts", exclusive=True)

    async def on_unmount(self) -> None:
        """Close the agent, however the program ends."""
        await self.conversation.aclose()

    @on(Prompt.Sent)
    async def _sent(self, message: Prompt.Sent) -> None:
        if not await run_command(self, message.text):
            self.conversation.send(message.text, self.status.think)

    @on(ApprovalPanel.Decided)
    def _decided(self, message: ApprovalPanel.Decided) -> None:
        self.conversation.decide(message.asked.id, message.decision, message.note)
        if self.approval.asked is None:
            self.prompt.focus()

    @on(QuestionPanel.Answered)
    def _answered(self, message: QuestionPanel.Answered) -> None:
        self.conversation.answer(message.asked.id, message.text)
        if self.question.asked is None:
            self.prompt.focus()

    @on(ForkView.Preferred)
    def _preferred(self, message: ForkView.Preferred) -> None:
        prefer(self, message.step, message.choice)
        self.prompt.focus()

    @on(ForkView.Left)
    def _left_fork(self) -> None:
        self.prompt.focus()

    @on(Prompt.Left)
    def _left(self) -> None:
        if not self.presenter.asking.go_there():
            self.screen.focus_next()

    @on(Prompt.SaidNow)
    async def _said_now(self, message: Prompt.SaidNow) -> None:
        if not (message.text and await run_command(self, message.text)):
            self.conversation.say_now(message.text, self.status.think)

    @on(Typed)
    def _typed(self, message: Typed) -> None:
        self.prompt.focus()
        self.prompt.insert(message.text)

    def set_think(self, think: ThinkRequest) -> None:
        """Ask for `think` from the next message on."""
        self.status.think = think
        self._show_think(think)

    async def clear_transcript(self) -> None:
        """Empty the screen; a step that runs is shown again with its next."""
        await self.transcript.clear()

    async def retry(self) -> None:
        """Open the agent again, where there is none."""
        if self.conversation.online or self.status.activity is Activity.LOADING:
            await self.tell("The engine is open; send your message again.")
            return
        self._open()

    def errand(self, text: str, start: Callable[[Agent], AsyncIterator[Event]]) -> None:
        """Have the agent do something besides messages, in its turn."""
        self.conversation.enqueue(Errand(text, start))

    async def tell(self, text: str) -> None:
        """Say a sentence in the transcript."""
        await self.presenter.say("info", text)

    def send(self, text: str, words: str | None = None) -> None:
        """Send a message, in its turn; `words` is what the user wrote, where that is not `text`."""
        self.conversation.send(text, self.status.think, words)

    def inform(self, fact: str) -> None:
        """Put a fact into the open thought."""
        self.conversation.inform(fact, self.status.think)

    def mode_of(self, step: int) -> Mode | None:
        """The mode of a step of this session; None where there is no such step."""
        return self.presenter.modes.get(step)

    async def prompts(self) -> Mapping[str, NamedPrompt]:
        """The prompts that have a name, as they are kept now."""
        found = await asyncio.to_thread(self._shelf.prompts)
        self.prompt.know(entries(found))
        return found

    async def show_stats(self) -> None:
        """Show what thinking cost."""
        from tui.spent import ledger_text

        try:
            await self.tell(ledger_text(await asyncio.to_thread(self._shelf.ledger, self.conversation.session)))
        except (UserError, OSError) as error:
            await self.tell(f"{error}.")

    async def show_sessions(self, words: str) -> None:
        """Show the sessions of this folder; the chosen one goes on here."""
        from tui.screens.sessions import SessionsScreen

        screen = SessionsScreen(self._shelf.search, words, self.conversation.session)
        await self.push_screen(screen, self._go_on_with)

    async def show_engine(self) -> None:
        """Show the engine and what its server does."""
        from tui.screens.engine import EngineScreen

        if (engine := self.status.engine) is None:
            await self.tell("No engine is open; /retry opens one.")
            return
        await self.push_screen(EngineScreen(engine, self._shelf.readings, self._shelf.findings))

    async def _go_on_with(self, session: str | None) -> None:
        if session is None:
            return
        if self.conversation.running:
            await self.tell("A step is in hand; Esc stops it, then /sessions again.")
            return
        try:
            open_agent = await asyncio.to_thread(self._shelf.reopen, session)
        except UserError as error:
            await self.tell(f"{error}.")
            return
        self.workers.cancel_group(self, "conversation")
        await self.conversation.switch(open_agent)
        await self.presenter.forget()
        self._open()

    def action_stop(self) -> None:
        """Leave a note, else stop what runs, else empty the prompt."""
        if self.approval.leave_note():
            return
        if self.conversation.running:
            self.conversation.stop(at_once=self.presenter.asking.open)
        else:
            self.prompt.clear()

    def action_enough(self) -> None:
        """Have the thought end here."""
        self.conversation.enough()

    def action_background(self) -> None:
        """Send the command that runs to the background."""
        if call := self.presenter.command:
            self.conversation.background(call)

    def action_cycle_think(self) -> None:
        """Ask for the next think mode."""
        self.set_think(_CYCLE[(_CYCLE.index(self.status.think) + 1) % len(_CYCLE)])

    def action_toggle_thinking(self) -> None:
        """Open or close all thinking."""
        self.transcript.toggle_thinking()

    def action_scroll_transcript(self, pages: int) -> None:
        """Scroll by pages."""
        self.transcript.scroll_relative(y=pages * max(1, self.transcript.size.height - 2), animate=False)

    async def action_show_help(self) -> None:
        """Show keys and commands."""
        await self.push_screen(HelpScreen(self._help_sections()))

    async def action_quit(self) -> None:
        """Leave with exit status 0."""
        self.exit(0)

    def action_help_quit(self) -> None:
        """Quit at the second Ctrl+C in a row."""
        now = self._clock()
        if now - self._last_interrupt <= QUIT_SECONDS:
            self.exit(0)
            return
        self._last_interrupt = now
        self.notify("Press Ctrl+C again to quit.", timeout=QUIT_SECONDS)

    def _help_sections(self) -> Iterable[Section]:
        yield "Everywhere", self.BINDINGS
        for owner in (Prompt, ApprovalPanel, QuestionPanel, ForkView, Fold, Transcript):
            yield str(owner.BINDING_GROUP_TITLE), owner.BINDINGS

    def _show_think(self, think: ThinkRequest) -> None:
        for request in ThinkRequest:
            self.prompt.set_class(request is think, f"-think-{request}")


def _short_path(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path)


def exit_status(app: KatApp) -> int:
    """The exit status of a program that is over; 1 after a crash, even one while leaving."""
    return app.return_code or app.return_value or 0


def run(
    open_agent: AgentFactory,
    repository: Path,
    *,
    think: ThinkRequest = ThinkRequest.AUTO,
    first_prompt: str | None = None,
    greeting: str = "",
    version: str,
    reopen: Callable[[Path], AgentFactory] | None = None,
) -> int:
    """Run the program until the user leaves; returns its exit status. `reopen` opens the session of a journal."""
    shelf = FolderShelf(repository, reopen) if reopen else None
    app = KatApp(
        open_agent, repository, think=think, first_prompt=first_prompt, greeting=greeting, version=version, shelf=shelf
    )
    app.run()
    return exit_status(app)
