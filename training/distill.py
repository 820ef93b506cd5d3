"""MTP-enhanced distillation: the first stage of KAT's recipe (arXiv 2507.08297), on texts of both regimes.

Teacher rows are made first where the store lacks them. A share of the updates is on the student's own texts, which the
teacher reads as they come. With `drafter_only` the MTP module alone is fitted to the model's own head, as is done again
after reinforcement learning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assistant.errors import UserError
from training.coldstart import batches_of, held_out
from training.distilling import Distilling
from training.examples import Example, Place
from training.models.loading import Loaded, load
from training.models.mtp import MtpModule
from training.modules import module_of
from training.places import place
from training.runtime.feeding import PackedUpdates, updates_of
from training.runtime.job import Job, Outcome
from training.runtime.loop import fit
from training.runtime.reading import Data, samples
from training.runtime.weights import keep
from training.sampling import Ask, Limits, Sampler
from training.seeds import derived
from training.settings import Mtp
from training.teachers.naming import teacher_of
from training.teachers.scoring import Teacher, fill
from training.teachers.store import Said, Store
from training.teachers.taught import Kind, TaughtUpdates, taught


def run(job: Job) -> Outcome:
    """Distil the recipe's teacher into the model.

    Raises:
        UserError: model, teacher, store or samples cannot be used, or memory does not suffice.
    """
    recipe, settings, world = job.recipe, job.recipe.distill, job.world
    torch.manual_seed(derived(recipe.seed, "distill") % 2**63)
    loaded = load(recipe.model, weights=job.weights, device=world.start)
    module = _module(job, loaded)
    data = samples(recipe.data, job.base, loaded.dialect, loaded.tokens)
    job.say(f"distill: {data.said()}")
    mtp = recipe.model.mtp or Mtp()
    loss = Distilling(loaded.model, settings, module, depth=mtp.depth, decay=mtp.decay)
    lessons = _lessons(job, loaded, data, loss)
    if lessons is None:
        return Outcome(None, False, "stopped while the teacher read; it goes on where it was, as asked")
    pad = loaded.tokenizer.pad_token_id or 0
    packed = PackedUpdates(data.train, settings.batch, recipe.data.row, world, recipe.seed, pad)
    steps = settings.steps or updates_of(packed.epoch, packed.count, settings.epochs)
    updates = TaughtUpdates(
        packed, lessons.say, lessons.kind, mtp=settings.mtp, steps=steps, on_policy=settings.on_policy,
        rewrite=lessons.rewrite, live=lessons.live, pad_id=pad,
    )  # fmt: skip
    rows = batches_of(data.valid, recipe.data.row, world, pad)
    held: Any = [taught(row, lessons.say, lessons.kind, settings.mtp[1]) for row in rows]
    fitted = fit(job, settings, loss, updates, steps, (lambda: held_out(loss, held, world)) if held else None)
    if not fitted.finished:
        return Outcome(None, False, fitted.why, fitted.figures)
    weights = keep(loaded, job.folder.stage(job.stage) / "weights", world, module)
    return Outcome(weights, figures=fitted.figures, notes=(data.said(), *lessons.notes))


@dataclass(frozen=True, slots=True)
class _Lessons:
    """Where a teacher's words come from, of a kind: the store, and the teacher itself for the student's own texts."""

    kind: Kind
    store: Store | None = None
    teacher: Teacher | None = None
    rewrite: Any = None
    notes: tuple[str, ...] = ()

    def say(self, ids: Sequence[int]) -> Said | None:
        """What is stored of a text."""
        return self.store.get(ids) if self.store else None

    def live(self, ids: Sequence[int]) -> Said | None:
        """What the teacher says of a new text."""
        return self.teacher.said([ids])[0] if self.teacher else None


def _lessons(job: Job, loaded: Loaded, data: Data, loss: Distilling) -> _Lessons | None:
    """The store, filled; None where that was stopped."""
    settings = job.recipe.distill
    if settings.drafter_only or not settings.teacher:
        if settings.on_policy and not settings.drafter_only:
            raise UserError("distill.on_policy needs a teacher that reads the texts; set distill.teacher")
        return _Lessons(Kind(settings.top))
    teacher = teacher_of(job, loaded)
    kind = Kind(teacher.about.top, teacher.about.spans)
    store = _filled(job, teacher, data)
    if store is None:
        return None
    said = "stretches that its tokenizer cuts out, too," if kind.spans else f"its {settings.top} likeliest tokens"
    about = f"{teacher.about.teacher}, {said} of {len(store):,} texts"
    note = f"teacher: {about} in {store.folder}"
    if not settings.on_policy:  # nothing more is asked of the teacher, and its memory is free for the training
        return _Lessons(kind, store, notes=(note,))
    return _Lessons(kind, store, teacher, _Rewriting(job, loaded, loss).rewritten, (note,))


def _filled(job: Job, teacher: Teacher, data: Data) -> Store | None:
    """The store with rows of all texts, each process asking for its share; None where that was stopped."""
    settings, world = job.recipe.distill, job.world
    named = Path(place(job.base, settings.store)) if settings.store else job.folder.stage(job.stage) / "teacher"
    if world.main:
        Store(named, teacher.about)  # the folder is begun by one
    world.wait()
    texts = (example.ids for part in (data.train, data.valid) for example in part)
    store = Store(named, teacher.about, world.rank)
    whole = fill(store, teacher, texts, job.say, lambda: job.stop.asked, world)
    world.wait()
    return Store(named, teacher.about) if whole else None


class _Rewriting:
    """The student's own replies to the prompts of examples, as long at most as those that stand there."""

    def __init__(self, job: Job, loaded: Loaded, root: Distilling) -> None:
        pad = loaded.tokenizer.pad_token_id or 0
        self._sampler = Sampler(loaded.model, loaded.tokens.ends, pad, rows=job.recipe.rl.rows, root=root)
        self._seed, self._rank, self._row = job.recipe.seed, job.world.rank, job.recipe.data.row

    def rewritten(self, examples: Sequence[Example], step: int) -> list[Example]:
        """The examples with new replies."""
        parts = list(_even(examples, self._row))
        asked = [self._asked([examples[index] for index in part], step, number) for number, part in enumerate(parts)]
        found: dict[int, Example] = {}
        for part, drawn in zip(parts, self._sampler.draw_parts(asked), strict=True):
            for index, one in zip(part, drawn, strict=True):
                found[index] = _replied(examples[index], one.ids[: _room(examples[index])])
        return [found[index] for index in range(len(examples))]

    def _asked(self, examples: Sequence[Example], step: int, number: int) -> tuple[list[Ask], Limits, int]:
        asks = [Ask(each.ids[: _prompt(each)], ()) for each in examples]
        seed = derived(self._seed, "on-policy", step, self._rank, number)
        return asks, Limits(max(map(_room, examples)), 1.0), seed


def _prompt(example: Example) -> int:
    """How many tokens stand before the first that carries loss."""
    return example.loss.index(True) if any(example.loss) else len(example) - 1


def _room(example: Example) -> int:
    """How long a reply may be: as long as the one that stands there."""
    return len(example) - _prompt(example)


def _even(examples: Sequence[Example], row: int) -> Iterator[list[int]]:
    """Parts of examples of about one length, by index, each of no more tokens with its padding than a row has."""
    part: list[int] = []
    longest = reply = 0
    for index in sorted(range(len(examples)), key=lambda index: (len(examples[index]), index)):
        one = examples[index]
        longest, reply = max(longest, _prompt(one)), max(reply, _room(one))
        if part and (len(part) + 1) * (longest + reply) > row:
            yield part
            part, longest, reply = [], _prompt(one), _room(one)
        part.append(index)
    if part:
        yield part


def _replied(example: Example, reply: Sequence[int]) -> Example:
    start = _prompt(example)
    loss = (*(False,) * start, *(True,) * len(reply))
    places = (*(Place.PROMPT,) * start, *(Place.ANSWER,) * len(reply))
    return Example(example.id, (*example.ids[:start], *reply), loss, places, example.mode, example.family)


def _module(job: Job, loaded: Loaded) -> MtpModule | None:
    """The MTP module that a stage before left, or a fresh one, where the recipe has one."""
    mtp, settings = job.recipe.model.mtp, job.recipe.distill
    if mtp is None:
        if settings.drafter_only:
            raise UserError("distill.drafter_only fits an MTP module, and the recipe has none; add [model.mtp]")
        return None
    dtype, device = next(loaded.model.parameters()).dtype, job.world.start
    left = module_of(job)
    if left:
        job.say(f"distill: the MTP module goes on from {left}")
        found = MtpModule.load(left, dtype)
        if found.layout != mtp.layout:
            raise UserError(f"{left} has the layout {found.layout}; set model.mtp.layout to it, or delete the folder")
    else:
        found = MtpModule.of(loaded.model, mtp.layout)
    placed: MtpModule = found.to(device, dtype)
    return placed
