"""What can be wrong with a path, a file, an edit or a repository."""

from __future__ import annotations

from assistant.errors import UserError


class WorkspaceError(UserError):
    """It cannot be done there; the message is one sentence that says why and what to do."""


class EditError(WorkspaceError):
    """The text to replace is not there, or not just once; the message shows where to look."""


class ChangedError(WorkspaceError):
    """A file is not as it was when it was read."""
