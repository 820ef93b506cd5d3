"""What steps changed: a line that counts, and each file under its name."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from tui.diff import FileDiff, file_diffs
from tui.prose import Line
from tui.widgets.fold import Fold, ProseView
from tui.words import plural

OPEN_ROWS = 120
"""Files of a patch with more rows begin closed."""
FILES_LIMIT = 100
"""Files that are shown; of others there is only the count."""


class ChangesView(Vertical):
    """A patch, whose files open and close."""

    def __init__(self, patch: str) -> None:
        super().__init__(classes="changes")
        self._files = file_diffs(patch)

    def compose(self) -> ComposeResult:
        """The count, then the files."""
        files = self._files
        yield ProseView([Line(_counted(plural(len(files), "file") + " changed", files))], classes="count")
        opened = sum(len(file.rows) for file in files) <= OPEN_ROWS
        for file in files[:FILES_LIMIT]:
            yield _fold(file, opened)
        if len(files) > FILES_LIMIT:
            text = f"… and {plural(len(files) - FILES_LIMIT, 'other file')}; `kat diff` in a shell prints all"
            yield ProseView([Line(Content.styled(text, "$muted"))])


def _fold(file: FileDiff, opened: bool) -> Fold:
    view = Fold(classes="file", opened=opened and bool(file.rows))
    view.tell(_counted(file.heading(), [file]), (lambda: list(file.lines())) if file.rows else None)
    return view


def _counted(title: str | Content, files: list[FileDiff]) -> Content:
    added, removed = sum(file.added for file in files), sum(file.removed for file in files)
    return Content.assemble(title, (f"  +{added}", "$text-success"), (f" -{removed}", "$text-error"))
