"""The data card: what a set of samples is, in Markdown, for whoever wants to train on it or to judge it.

It says nothing of when and how fast, so that the same records give the same card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from training.data.flow.reporting import Report
from training.data.guards.contamination import shipped
from training.data.guards.scrub import MEASURE
from training.data.lengths import PER_TOKEN
from training.data.schema import Sample

_BY: Mapping[str, str] = {
    "vote": "votes on the very task",
    "stratum": "votes on tasks like it",
    "request": "the user's words in the prompt",
    "policy": "a named rule of the assistant's think policy",
    "random": "the random share",
    "regime": "the regime that the sample was written for",
}
_PROOFS: Mapping[str, str] = {
    "tests": "tests that failed and pass",
    "execution": "a program that was run",
    "construction": "the way it was made",
    "critic": "a model's verdict",
    "none": "nothing",
}
_CLEANING = ("secret", "personal")
_LIMITS = (
    "Bugs by mutation are smaller and more local than those that people make, and their statements are templates.",
    "That tests pass says no more than that these tests do; what they do not look at may still be wrong.",
    "Chains of thought by template or by trace are true and dull; a model learns their form sooner than their use.",
    "Secrets and personal data are found by shape and by name; what looks like neither stays.",
    "Contamination is looked for in the words of benchmarks whose lists were given; a paraphrase is not found.",
    "A licence that is recorded is the source's own word; files of others within it may stand under another.",
)


@dataclass(slots=True)
class Facts:
    """What samples add up to."""

    count: int = 0
    families: Counter[tuple[str, str]] = field(default_factory=Counter)
    sources: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    by: Counter[tuple[str, str]] = field(default_factory=Counter)
    trained: Counter[str] = field(default_factory=Counter)
    voted: Counter[str] = field(default_factory=Counter)
    proofs: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    difficulty: Counter[tuple[str, str]] = field(default_factory=Counter)
    splits: Counter[tuple[str, str]] = field(default_factory=Counter)
    scrubbed: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)

    def add(self, sample: Sample) -> None:
        """Count a sample."""
        made, mode = sample.provenance, sample.mode.value
        self.count += 1
        self.families[sample.family, mode] += 1
        self.sources[made.source, made.revision, made.released[:10], sample.licence] += 1
        self.by[sample.by, mode] += 1
        self.voted["votes"] += bool(sample.votes.on_tried and sample.votes.off_tried)
        self.proofs[sample.verification.by] += 1
        self.languages[sample.tags.language] += 1
        self.difficulty[sample.family, sample.tags.difficulty] += 1
        self.splits[sample.family, sample.split] += 1
        self.trained[mode] += sample.split == "train"
        self.characters["prompt"] += sum(len(message.content) for message in sample.messages)
        self.characters["reply"] += len(sample.judge) + len(sample.think) + len(sample.answer)
        for name, value in sample.tags.measures.items():
            if name.startswith(MEASURE):
                self.scrubbed[name.removeprefix(MEASURE)] += int(value)


def render(samples: Iterable[Sample], reports: Sequence[Report] = (), *, name: str = "", again: str = "") -> str:
    """The card of the samples and of the stages that made them.

    `name` is what the data are called, `again` the command that makes them once more.
    """
    facts = Facts()
    for sample in samples:
        facts.add(sample)
    parts = [
        [f"# Data card{f': {name}' if name else ''}", "", *_what(facts)],
        ["## Sources and licences", "", *_sources(facts)],
        ["## Families and regimes", "", *_regimes(facts)],
        ["## What decided the modes", "", *_modes(facts)],
        ["## Languages and difficulty", "", *_kinds(facts)],
        ["## Splits", "", *_splits(facts)],
        ["## What says that they are right", "", *_proofs(facts)],
        ["## What was refused", "", *_refused(reports)],
        ["## Secrets and personal data", "", *_cleaned(facts, reports)],
        ["## Benchmarks", "", *_benchmarks(reports)],
        ["## Yields and costs", "", *_yields(reports)],
        ["## How to make it again", "", *_again(again)],
        ["## Known limits", "", *(f"- {limit}" for limit in _LIMITS)],
    ]
    return "\n".join(chain.from_iterable([*part, ""] for part in parts)).rstrip("\n") + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table of Markdown: the first column left, the others right."""
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    marks = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(row)} |" for row in (head, marks, *lines)]


def _what(facts: Facts) -> list[str]:
    off, train = facts.trained["off"], sum(facts.trained.values())
    tokens = " and ".join(f"{count // PER_TOKEN:,} of {what}" for what, count in sorted(facts.characters.items()))
    return [
        f"{facts.count:,} samples of {len({family for family, _ in facts.families})} families, made from code: each is "
        "one assistant turn with its prompt, in one of two regimes, with thinking and without.",
        f"{_share(off, train)} of the training split are without thinking; of KAT-V1's own data, 65.2 % were "
        "(arXiv 2507.08297).",
        f"About {tokens or 'no'} tokens, at {PER_TOKEN} characters each.",
    ]


def _sources(facts: Facts) -> list[str]:
    rows = (
        (source, _short(revision), released or "–", licence or "unknown", f"{count:,}")
        for (source, revision, released, licence), count in sorted(facts.sources.items())
    )
    return table(("source", "revision", "released", "licence", "samples"), rows)


def _regimes(facts: Facts) -> list[str]:
    rows = []
    for family in [*sorted({family for family, _ in facts.families}), ""]:
        on, off = (_in_mode(facts, mode, family) for mode in ("on", "off"))
        share = (_share(on + off, facts.count), _share(off, on + off))
        rows.append((family or "all", f"{on + off:,}", share[0], f"{off:,}", f"{on:,}", share[1]))
    return table(("family", "samples", "share", "off", "on", "off of family"), rows)


def _modes(facts: Facts) -> list[str]:
    found = sorted({by for by, _ in facts.by})
    rows = ((_BY.get(by, by), f"{facts.by[by, 'off']:,}", f"{facts.by[by, 'on']:,}") for by in found)
    said = f"{facts.voted['votes']:,} samples carry the votes on both modes that they were judged by."
    return [*table(("decided by", "off", "on"), rows), "", said]


def _kinds(facts: Facts) -> list[str]:
    spoken = ", ".join(f"{name} {_share(count, facts.count)}" for name, count in sorted(facts.languages.items()))
    levels = ("easy", "medium", "hard")
    return [f"Languages of the words: {spoken or 'none'}.", "", *_crossed(facts.difficulty, levels)]


def _splits(facts: Facts) -> list[str]:
    return [
        "Held out by time and by module, never record by record; what was made from one function stays together.",
        "",
        *_crossed(facts.splits, ("train", "valid", "test")),
    ]


def _crossed(counts: Counter[tuple[str, str]], columns: Sequence[str]) -> list[str]:
    families = sorted({family for family, _ in counts})
    return table(("family", *columns), ((f, *(f"{counts[f, column]:,}" for column in columns)) for f in families))


def _proofs(facts: Facts) -> list[str]:
    rows = (
        (_PROOFS.get(by, by), f"{count:,}", _share(count, facts.count)) for by, count in sorted(facts.proofs.items())
    )
    return table(("evidence", "samples", "share"), rows)


def _refused(reports: Sequence[Report]) -> list[str]:
    rows = [(ran.stage, reason, f"{count:,}") for ran in reports for reason, count in sorted(ran.refused.items())]
    return table(("stage", "reason", "records"), rows) if rows else ["Nothing that is known of."]


def _cleaned(facts: Facts, reports: Sequence[Report]) -> list[str]:
    refused = Counter[str]()
    for ran in reports:
        refused.update({reason: ran.refused.get(reason, 0) for reason in _CLEANING})
    replaced = ", ".join(f"{kind} {count:,}" for kind, count in sorted(facts.scrubbed.items()))
    return [
        f"Replaced by placeholders in what is read, by kind: {replaced or 'none'}.",
        f"Refused, as they would have been learned or had to stay: {refused['secret']:,} for secrets, "
        f"{refused['personal']:,} for personal data. No value is kept anywhere.",
    ]


def _benchmarks(reports: Sequence[Report]) -> list[str]:
    checks = [ran for ran in reports if ran.use == "contamination"]
    if not checks:
        return ["Not looked for: the stage `contamination` did not run."]
    names = ", ".join(one.name for one in shipped())
    found = sum(ran.refused.get("contaminated", 0) for ran in checks)
    return [
        f"{sum(ran.read for ran in checks):,} records were held against hash lists, those that come with the program "
        f"({names}) unless the recipe says otherwise, and those that the recipe names; {found:,} were refused."
    ]


def _yields(reports: Sequence[Report]) -> list[str]:
    rows = [(r.stage, f"{r.read:,}", f"{r.written:,}", _yield(r.written, r.read), _cost(r.cost)) for r in reports]
    said = [note for ran in reports for note in ran.notes]
    votes = [note for note in said if note.startswith("|")]
    notes = [f"- {note}" for note in said if not note.startswith("|")] + (["", *votes] if votes else [])
    if not rows:
        return ["Nothing is known of the stages."]
    tail = ["", *notes] if notes else []
    return [
        *table(("stage", "read", "written", "yield", "cost"), rows),
        *tail,
        "",
        "Seconds stand in each report.json.",
    ]


def _again(again: str) -> list[str]:
    same = (
        "The same recipe, seed, sources and replies of models are to give the same bytes, in any number of processes."
    )
    return [*(["```", again, "```", ""] if again else []), same]


def _in_mode(facts: Facts, mode: str, family: str = "") -> int:
    return sum(n for (name, one), n in facts.families.items() if one == mode and family in ("", name))


def _cost(cost: Mapping[str, float]) -> str:
    """Without seconds, and whether replies were drawn or found: the card of a second run is the same."""
    said = {name: value for name, value in cost.items() if name not in ("drawn", "found", "seconds")}
    if "drawn" in cost:
        said["replies"] = cost["drawn"] + cost.get("found", 0)
    return ", ".join(f"{name} {value:,g}" for name, value in sorted(said.items())) or "–"


def _short(revision: str) -> str:
    """As much of a revision as tells it apart."""
    kind, colon, rest = revision.rpartition(":")
    return f"{kind}{colon}{rest[:12]}" or "–"


def _yield(written: int, read: int) -> str:
    """A share, or, of a stage that makes many of one, how many."""
    return f"{written / read:,.1f} each" if written > read > 0 else _share(written, read)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
