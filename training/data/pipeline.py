"""A recipe for data as a row of stages: each reads what those above it wrote, and writes a folder of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from assistant.errors import UserError
from training.data.flow.chunks import PASSING, Engine, Row, fingerprint, row_of
from training.data.flow.gathering import Wanted, gather, read_rows
from training.data.flow.places import digest_of, manifests, whole
from training.data.flow.progress import Progress
from training.data.flow.reporting import Report, read_report
from training.data.flow.running import Saving, kinds_of, run
from training.data.flow.shards import Format, Manifest, Place, within
from training.data.stage import Context, places
from training.data.stages import entry
from training.near import nearest
from training.recipe import build

SOURCES = "sources"
"""What a stage without `from` reads."""
_REFERENCE = "@"
"""An option that begins so is the folder of the stage that it names."""
_OURS = ("use", "from", "limit", "chunk")
_NAME = re.compile(r"\w[\w.-]*")
"""Names of recipes and stages: they are names of folders."""


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """A recipe as it is written. `engine` is where the model answers that stages ask, `model` its name there.

    `stages` are tables by name, in their order: `use` (a registered stage; else the name itself), `from` (names above
    it; else the sources), `limit` (records written at most), `chunk`, and the options of the stage.
    """

    name: str
    seed: int = 0
    sources: Wanted = field(default_factory=Wanted)
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    engine: str | None = None
    model: str | None = None
    format: Format = "parquet"


@dataclass(frozen=True, slots=True)
class Step:
    """A stage with its options, where it reads and how much it writes."""

    name: str
    use: str
    stage: Any
    inputs: tuple[str, ...]
    limit: int | None = None
    chunk: int | None = None
    asks: bool = False

    def shown(self) -> dict[str, Any]:
        """The step as a table of a recipe, with every option."""
        options = {option.name: getattr(self.stage, option.name) for option in fields(self.stage)}
        return {"use": self.use, "from": list(self.inputs), "limit": self.limit, "chunk": self.chunk, **options}

    def taken(self, place: Place) -> dict[str, Manifest]:
        """The manifests of what it reads in a folder; a stage may have written other kinds of records besides."""
        reads = kinds_of(self.stage.reads)
        return {kind: one for kind, one in manifests(place).items() if kind in reads}


@dataclass(frozen=True, slots=True)
class Way:
    """How a pipeline is run: `opens` gives the model `asked` by some stages, `tell` hears each stage's report."""

    context: Context
    runner: Engine | None = None
    opens: Callable[[], Awaitable[Any]] | None = None
    asked: str = ""
    tell: Callable[[Report], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class _Around:
    """What a table is read against: the seed, the stages above it, and where references and paths begin."""

    seed: int
    above: Sequence[str]
    out: Place
    base: Path


def steps(recipe: DataRecipe, out: Place, base: Path = Path()) -> list[Step]:
    """The stages of a recipe with their options checked; references are folders in `out`, paths begin at `base`.

    Raises:
        UserError: a stage, an option or a name is unknown (the nearest is named), or stands below what needs it.
    """
    _checked(recipe)
    found: list[Step] = []
    kinds: dict[str, tuple[str, ...]] = {SOURCES: ("source",)}
    for name, table in recipe.stages.items():
        step = _step(name, table, _Around(recipe.seed, [step.name for step in found], out, base))
        kinds[name] = _given(step, kinds)
        found.append(step)
    return found


def run_all(recipe: DataRecipe, out: Place, way: Way, base: Path = Path()) -> list[Report]:
    """Run a recipe: sources first, then stage by stage, each into its own folder of `out`.

    What an earlier run finished is taken as it is, and what it left half done goes on.

    Raises:
        UserError: a source cannot be had, or a stage cannot work here.
    """
    plan = steps(recipe, out, base)
    if not (recipe.sources.packages or recipe.sources.folders):
        raise UserError("the recipe names no sources; write folders = [...] or packages = [...] under [sources]")
    sources = [row_of(source) for source in gather(recipe.sources, way.context.cache, base)]
    reports = []
    for step in plan:
        report = _run(step, sources, out, recipe.format, way)
        way.tell(report)
        reports.append(report)
    return reports


def stage_of(use: str, options: Mapping[str, Any], where: str) -> Any:
    """A registered stage with these options. Raises UserError."""
    return build(entry(use).load(), options, where)


def seeded(use: str, options: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The options of a stage, with the seed where it takes one and has none of its own."""
    takes = any(option.name == "seed" for option in fields(entry(use).load()))
    return {**({"seed": seed} if takes else {}), **options}


def _checked(recipe: DataRecipe) -> None:
    if not recipe.stages:
        raise UserError("the recipe names no stages; add a table [stages.NAME] for each")
    if recipe.seed < 0:
        raise UserError(f"seed cannot be {recipe.seed}: it is a whole number from 0 on")
    for name in (recipe.name, *recipe.stages):
        if not _NAME.fullmatch(name):
            raise UserError(f"{name!r} cannot be a name: a folder is called so; use letters, digits, _, . and -")


def _step(name: str, table: Mapping[str, Any], around: _Around) -> Step:
    where = f"stages.{name}"
    if name == SOURCES:
        raise UserError(f"a stage cannot be named {SOURCES}; name it otherwise")
    use = _text(table.get("use", name), f"{where}.use")
    inputs = _names(table.get("from", [SOURCES]), f"{where}.from")
    paths = places(entry(use).load())
    options = {
        key: _referred(value, f"{where}.{key}", around, key in paths)
        for key, value in table.items()
        if key not in _OURS
    }
    for one in inputs:
        _above(one, where, [SOURCES, *around.above])
    stage = stage_of(use, seeded(use, options, around.seed), where)
    limit, chunk = (_positive(table.get(key), f"{where}.{key}") for key in ("limit", "chunk"))
    return Step(name, use, stage, inputs, limit, chunk, entry(use).asks)


def _given(step: Step, kinds: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The kinds of records that a stage writes, of those that it reads. Raises UserError where it cannot read them."""
    reads, writes = kinds_of(step.stage.reads), kinds_of(step.stage.writes)
    for one in step.inputs:
        if not set(reads) & set(kinds[one]):
            wanted, there = " or ".join(reads), " and ".join(kinds[one])
            raise UserError(f"stages.{step.name} takes records of the kind {wanted}; {one} gives {there}")
    if reads != writes:
        return writes
    return tuple(kind for kind in writes if any(kind in kinds[one] for one in step.inputs))


def _run(step: Step, sources: list[Row], out: Place, form: Format, way: Way) -> Report:
    inputs = _digest(step, sources, out)
    folder = within(out, step.name)
    if (done := _done(step, folder, inputs, way.asked if step.asks else "", form)) is not None:
        return done
    total = sum(len(sources) if one == SOURCES else _count(step, within(out, one)) for one in step.inputs)
    context = replace(way.context, engine=way.opens if step.asks else None)
    return run(
        step.stage,
        _rows(step, sources, out),
        folder,
        context,
        chunk=step.chunk,
        engine=way.runner,
        saving=Saving(form, most=step.limit),
        progress=Progress(step.name, total),
        label=step.name,
        inputs=inputs,
        asked=way.asked if step.asks else "",
    )


def _done(step: Step, folder: Place, inputs: str, asked: str, form: Format) -> Report | None:
    """The report of a step that needs no run: the same stage read the same, and its shards are there."""
    try:
        report, found = read_report(folder), manifests(folder)
    except UserError:
        return None
    same = (
        report.identity == fingerprint(step.stage, asked)
        and report.inputs == inputs
        and PASSING.isdisjoint(report.refused)
    )
    there = found and digest_of(found) == report.digest and all(one.format == form for one in found.values())
    return report if same and there and whole(folder, found) else None


def _rows(step: Step, sources: list[Row], out: Place) -> Iterator[Row]:
    for one in step.inputs:
        if one == SOURCES:
            yield from sources
        else:
            yield from read_rows(within(out, one), step.taken(within(out, one)))


def _digest(step: Step, sources: list[Row], out: Place) -> str:
    """What names all that a step reads, and how much of it is wanted."""
    digest = hashlib.sha256(f"{step.limit}".encode())
    for one in step.inputs:
        found = {} if one == SOURCES else step.taken(within(out, one))
        words = [row.line for row in sources] if one == SOURCES else [digest_of(found)]
        digest.update("\0".join([one, *words]).encode())
    return digest.hexdigest()[:16]


def _count(step: Step, folder: Place) -> int:
    return sum(one.count for one in step.taken(folder).values())


def _referred(value: Any, where: str, around: _Around, is_place: bool) -> Any:
    """An option's value: a reference as the folder that it means, a path as seen from the recipe."""
    match value:
        case str() if value.startswith(_REFERENCE):
            name = value.removeprefix(_REFERENCE)
            _above(name, where, around.above)
            return within(around.out, name)
        case str() if is_place and value and "://" not in value:
            return str(around.base / Path(value).expanduser())
        case list():
            return [_referred(one, where, around, is_place) for one in value]
    return value


def _above(name: str, where: str, above: Sequence[str]) -> None:
    if name not in above:
        raise UserError(f"{where} names {name!r}, and no stage above it has that name; {nearest(name, above)}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where} cannot be {value!r}: it is the name of a stage, in quotes")
    return value


def _names(value: Any, where: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f'{where} cannot be {value!r}: it is a list of names, like ["profile"]')
    return tuple(names)


def _positive(value: Any, where: str) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise UserError(f"{where} cannot be {value!r}: it is a whole number from 1 on")
    return value
