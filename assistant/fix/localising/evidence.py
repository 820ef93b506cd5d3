"""What is known of a fault before it is ranked, and how much each kind of it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from assistant.fix.localising.frames import Frame
from assistant.fix.localising.names import Mentions
from assistant.fix.localising.recent import Change
from assistant.fix.localising.spectrum import Spectrum
from assistant.fix.localising.statements import Statements
from assistant.workspace.tags import Definition

Source = Literal["coverage", "traceback", "names", "changes", "map"]
WEIGHTS: Mapping[Source, float] = {"coverage": 0.6, "traceback": 0.2, "names": 0.1, "changes": 0.07, "map": 0.03}
"""What each source counts where all are there; our choice, made before anything was measured and not tuned since."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known. Paths are relative; `prior` is what the repository's map makes of (path, name), in [0, 1]."""

    spectrum: Spectrum | None = None
    frames: Sequence[Frame] = ()
    mentions: Mentions = field(default_factory=lambda: Mentions({}))
    changes: Mapping[str, Mapping[int, Change]] = field(default_factory=dict)
    prior: Mapping[tuple[str, str], float] = field(default_factory=dict)
    statements: Mapping[str, Statements] = field(default_factory=dict)
    definitions: Mapping[str, Sequence[Definition]] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Those that said anything."""
        said: Mapping[Source, bool] = {
            "coverage": self.spectrum is not None,
            "traceback": any(not frame.of_tests for frame in self.frames),
            "names": bool(self.mentions.names or self.mentions.files),
            "changes": bool(self.changes),
            "map": bool(self.prior),
        }
        return tuple(source for source in WEIGHTS if said[source])
