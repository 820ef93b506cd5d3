"""How far a fix has come, for whoever interrupts it."""

from __future__ import annotations

from dataclasses import dataclass, field

from assistant.fix.report import FixReport


@dataclass(slots=True)
class Progress:
    """The last report; it speaks of the best attempt so far."""

    report: FixReport = field(default_factory=lambda: FixReport("not_fixed", ""))

    def note(self, report: FixReport) -> None:
        """A later report."""
        self.report = report
