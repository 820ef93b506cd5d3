"""Errors that a person caused or must hear of: one sentence, and the exit code of the command."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    NOT_ACHIEVED = 1
    BAD_INPUT = 2
    UNREACHABLE = 3
    REFUSED = 4
    INTERRUPTED = 130


class UserError(Exception):
    """Something that the user can put right; the message says how."""

    code = Exit.BAD_INPUT


class RefusedError(UserError):
    """Something that needs a rule which was not given; the message names it."""

    code = Exit.REFUSED
