"""The mode of each query by majority vote, as HiPO (arXiv 2509.23967) does it for the cold start.

Each task was tried in both modes (`Rollouts`). The mode with the higher pass rate wins, and a difference of no more
than delta means off; the shortest right reply of that mode is kept; one query in a hundred gets a mode at random; the
judge's text names the evidence. What HiPO leaves open is our choice: where nothing was ever right in either mode the
votes say nothing, and the task goes by its stratum (family and difficulty), as do tasks that nobody tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from model.format import Mode, ThinkRequest
from model.line import parse
from training.data.asking.pass_rates import PassRates
from training.data.flow.told import Note
from training.data.modes.judging import judge_text
from training.data.modes.regimes import round_trips
from training.data.modes.voting import Stratum, decided, query_of, strata, stratum_of, table
from training.data.schema import ModeBy, Refused, Rollout, Sample, Verification, Votes, content_id
from training.data.stage import Context, place
from training.seeds import rng

STEPS = frozenset({"agent_step"})
"""Families whose prompts are not those that rollouts answered: what their task's rollouts say is not about them."""


@dataclass(frozen=True, slots=True)
class Vote:
    """Decides between candidates in both modes, by the rollouts in a folder.

    It reads samples: those of one task and family are candidates for one query, as are steps of an agent with one
    prompt. Only candidates that were written for a regime are voted on; what a user or a rule decided stays. `delta`
    and `random` are shares; `fewest` is how many tasks of a stratum must have been tried before it speaks for others,
    and `strata` false keeps it silent. KAT's own delta was not found: 0.05 is our choice. The random share is HiPO's.
    """

    seed: int = 0
    rollouts: str = place()
    delta: float = 0.05
    random: float = 0.01
    strata: bool = True
    fewest: int = 3

    name: ClassVar[str] = "vote"
    version: ClassVar[int] = 2
    reads: ClassVar[type] = Sample
    writes: ClassVar[type] = Sample
    whole: ClassVar[bool] = True

    def __call__(self, records: Iterable[Sample], context: Context) -> Iterator[Sample | Refused]:
        """A sample for each query, and the others refused; in the order of each query's first candidate."""
        yield from self.among(list(records), PassRates.of(self.rollouts), context)

    def among(self, samples: Sequence[Sample], rates: PassRates, context: Context) -> Iterator[Sample | Refused]:
        """The same with the rollouts given."""
        tried = [sample for sample in samples if _is_open(sample) and sample.family not in STEPS]
        known = strata(tried, rates) if self.strata else {}
        for line in table(known, self.delta):
            context.watch(Note(line))
        queries: dict[str, list[Sample]] = {}
        for sample in samples:
            queries.setdefault(query_of(sample, STEPS) if _is_open(sample) else sample.id, []).append(sample)
        for query, candidates in queries.items():
            yield from self._settled(query, candidates, rates, known)

    def _settled(
        self, query: str, candidates: Sequence[Sample], rates: PassRates, known: Mapping[Stratum, tuple[int, Votes]]
    ) -> Iterator[Sample | Refused]:
        """What becomes of the candidates for one prompt."""
        first = min(candidates, key=_size)
        votes, by = self._votes(first, rates, known)
        mode = decided(votes, self.delta)
        if not _is_open(first) or by is None or mode is None:
            yield from candidates
            return
        own = rates.by_task.get(first.task, ()) if first.family not in STEPS else ()
        best, drawn = None, rng(self.seed, "vote", query)
        if drawn.random() < self.random:
            other = drawn.choice([Mode.ON, Mode.OFF])
            if best := _best(candidates, own, other):
                mode, by = other, "random"
        best = best or _best(candidates, own, mode)
        yield from self._kept(candidates, best, mode, by, replace(votes, delta=self.delta))

    def _votes(
        self, sample: Sample, rates: PassRates, known: Mapping[Stratum, tuple[int, Votes]]
    ) -> tuple[Votes, ModeBy | None]:
        """The votes on a sample's task, else those of its stratum, and which they are."""
        own = rates.votes(sample.task) if sample.family not in STEPS else Votes()
        if decided(own, self.delta) is not None:
            return own, "vote"
        tasks, pooled = known.get(stratum_of(sample), (0, Votes()))
        if tasks >= self.fewest and decided(pooled, self.delta) is not None:
            return pooled, "stratum"
        return own, None

    def _kept(
        self, candidates: Sequence[Sample], best: Sample | None, mode: Mode, by: ModeBy, votes: Votes
    ) -> Iterator[Sample | Refused]:
        """The best reply with its new judge, and a refusal for each candidate that it is not."""
        if best is not None:
            drawn = rng(self.seed, "judge", best.id)
            judge = judge_text(drawn, mode, best.tags, votes, best.tags.language)
            yield replace(best, id=content_id("sample", "vote", best.id, judge), judge=judge, by=by, votes=votes)
        for sample in candidates:
            if best is None:
                yield Refused(sample.id, "no_reply", f"votes are for thinking {mode}, and no right reply does so")
            elif sample.id != best.id:
                why = "is not the shortest" if sample.mode is mode else f"loses: votes are for thinking {mode}"
                yield Refused(sample.id, "outvoted", f"it {why}")


def _is_open(sample: Sample) -> bool:
    """Whether votes may decide the sample's mode."""
    return sample.by == "regime" and sample.request is ThinkRequest.AUTO and sample.trainable


def _best(candidates: Sequence[Sample], rollouts: Iterable[Rollout], mode: Mode) -> Sample | None:
    """The shortest right reply in a mode, of candidates that were verified and rollouts that passed."""
    right = [sample for sample in candidates if sample.mode is mode and sample.verification.by != "none"]
    first = min(candidates, key=_size)
    drawn = [_as_sample(first, each) for each in rollouts if each.passed and each.mode is mode]
    return next(filter(_says_all, sorted((*right, *drawn), key=_size)), None)


def _as_sample(candidate: Sample, rollout: Rollout) -> Sample:
    """A rollout's reply as a sample of the same query."""
    reply, edit = rollout.reply, parse(rollout.reply.answer) if candidate.family == "line_repair" else None
    return replace(
        candidate,
        id=rollout.id,
        mode=rollout.mode,
        think=reply.think.strip() if rollout.mode is Mode.ON else "",
        answer=candidate.answer if edit and edit == parse(candidate.answer) else reply.answer.strip(),
        calls=reply.calls,
        provenance=replace(candidate.provenance, made_by=f"rollouts:{rollout.engine}", parent=rollout.id),
        verification=Verification(rollout.by, 1, {"rollout": rollout.id}),
    )


def _says_all(sample: Sample) -> bool:
    """Whether a reply has an answer or a call, a thought where it is to think, and is read as it is written."""
    says = bool(sample.answer.strip() or sample.calls) and (sample.mode is Mode.OFF or bool(sample.think.strip()))
    return says and round_trips(sample.reply)


def _size(sample: Sample) -> tuple[int, str, str, str]:
    """Shorter replies first, by characters; the same order whichever came first."""
    return len(sample.think) + len(sample.answer), sample.answer, sample.think, sample.id
