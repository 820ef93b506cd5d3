"""The teacher that a recipe names: a model that is loaded here, or one that a server runs, with any tokenizer."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from assistant.errors import UserError
from training.models.loading import Loaded, load
from training.runtime.job import Job
from training.settings import ModelTable
from training.teachers.across import AcrossTokenizers, Reader, widths
from training.teachers.local import LocalTeacher
from training.teachers.scoring import Teacher
from training.teachers.server import ServerTeacher
from training.teachers.store import About, probe, tokenizer_hash

KEY = "KAT_TEACHER_API_KEY"
"""The environment variable with the key of a teacher's server."""


def teacher_of(job: Job, student: Loaded) -> Teacher:
    """The recipe's teacher; one with another tokenizer is asked of stretches that both cut out.

    Raises:
        UserError: there is no such, or the recipe asks for what it cannot say.
    """
    settings = job.recipe.distill
    if settings.teacher.startswith(("http://", "https://")):
        if settings.temperature != 1.0:
            raise UserError("a server's log-probabilities are of temperature 1; set distill.temperature = 1.0")
        mine = tokenizer_hash(student.tokenizer)
        server = ServerTeacher(settings.teacher, settings.top, mine, key=os.environ.get(KEY, ""))
        alike = server.cuts_alike(student.tokens.encode(probe(), specials=True))
        return server if alike else _across(job, student, server)
    return _local(job, student)


def _local(job: Job, student: Loaded) -> Teacher:
    recipe, settings = job.recipe, job.recipe.distill
    table = ModelTable(source=settings.teacher, dialect=recipe.model.dialect, dtype=recipe.model.dtype)
    loaded = load(table, device=job.world.device, train=False, turns=False)
    mine = tokenizer_hash(student.tokenizer)
    folder = Path(settings.teacher).expanduser()
    name = folder.name if folder.is_dir() else settings.teacher
    about = About(
        teacher=name, revision=_revision(settings.teacher, loaded.source), tokenizer=mine, top=settings.top,
        temperature=settings.temperature,
    )  # fmt: skip
    teacher = LocalTeacher(loaded.model, about, job.world.device, loaded.tokenizer)
    return teacher if tokenizer_hash(loaded.tokenizer) == mine else _across(job, student, teacher)


def _across(job: Job, student: Loaded, reader: Reader) -> Teacher:
    if reader.about.temperature != 1.0:
        raise UserError(
            f"{reader.about.teacher} has another tokenizer than the model that is trained, and stretches are compared"
            " at temperature 1; set distill.temperature = 1.0"
        )
    job.say(f"distill: {reader.about.teacher} has another tokenizer; stretches that both cut out are compared")
    teacher = AcrossTokenizers(reader, student.tokenizer, replace(reader.about, top=1, spans=True))
    ids = student.tokens.encode(probe(), specials=True)
    if widths(student.tokenizer.convert_ids_to_tokens(ids), probe()) is None:
        raise UserError(
            f"how {job.recipe.model.source} writes its tokens is not known here; choose a teacher of the same family"
        )
    if not teacher.said([ids])[0].top.any():
        raise UserError(f"the tokens of {reader.about.teacher} cannot be laid over texts; choose another teacher")
    return teacher


def _revision(source: str, folder: Path) -> str:
    """What tells these weights from others of the name.

    Snapshots and conversions are named by their content; a folder that the recipe names may be trained further, so
    that sizes and times of its files count.
    """
    if not Path(source).expanduser().is_dir():
        return folder.name
    files = sorted((*folder.glob("*.safetensors"), folder / "config.json"))
    about = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return f"{folder.name}-{hashlib.sha256(repr(about).encode()).hexdigest()[:12]}"
