"""What a run of a stage did: counts, refusals by reason and seconds; as JSON beside the records, and as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from assistant.errors import UserError
from training.data.flow.shards import Place, put, text_in

REPORT = "report.json"
REFUSALS = "refused.jsonl"
COLUMNS = ("stage", "read", "written", "yield", "refused", "seconds", "per s")


@dataclass(frozen=True, slots=True)
class Report:
    """How a stage went. `digest` is that of its records; `reused` counts inputs that an earlier run had worked on.

    `stage` is what it is called there, and `use` its name among all stages. `seconds` are those of this run, `cost` is
    what else it took, by name (tokens, replies), and `inputs` names what was read.
    """

    stage: str
    identity: str = ""
    read: int = 0
    written: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    reused: int = 0
    seconds: float = 0.0
    digest: str = ""
    cost: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    inputs: str = ""
    use: str = ""

    @property
    def rate(self) -> float | None:
        """Records written each second, where this run worked on all of them."""
        return self.written / self.seconds if self.seconds > 0 and not self.reused else None

    def row(self) -> tuple[str, ...]:
        """A line of the table that `COLUMNS` heads."""
        part = f"{self.written / self.read:.2f}" if self.read else "–"
        rate = f"{self.rate:.3g}" if self.rate else "–"
        counts = (f"{number:,}" for number in (self.read, self.written))
        return (self.stage, *counts, part, f"{sum(self.refused.values()):,}", f"{self.seconds:.1f}", rate)

    def reasons(self) -> str:
        """What was refused and why, in a line; empty where nothing was."""
        counts = ", ".join(f"{count:,} {reason}" for reason, count in self.refused.items())
        return f"{self.stage} refused {counts}" if counts else ""

    def write(self, place: Place) -> None:
        """Put it beside the records."""
        put(place, REPORT, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


def read_report(folder: Place) -> Report:
    """The report of a folder that a stage wrote.

    Raises:
        UserError: there is none.
    """
    try:
        fields = json.loads(text_in(folder, REPORT) or "")
        return Report(**{**fields, "notes": tuple(fields.get("notes", ()))})
    except (ValueError, TypeError):
        raise UserError(f"{folder} has no report of a stage; make it with `kat train data`") from None


def first_refusal(folder: Place) -> str:
    """Why the first record that was refused was; empty where none was."""
    found: dict[str, str] = json.loads((text_in(folder, REFUSALS) or "{}").partition("\n")[0])
    return found.get("detail") or found.get("reason", "")


def by_reason(reasons: Iterable[str]) -> dict[str, int]:
    """How often each reason came, the most frequent first."""
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
