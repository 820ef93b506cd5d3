"""The last stage: what was trained, in the forms that engines load, each checked, with the commands that show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from assistant.errors import UserError
from model.catalog import known
from model.serving.adapter_files import served_name
from training.exporting.adapter import copied, expect_served
from training.exporting.drafter import eagle, mimo, speculation
from training.exporting.exported import Exported, asked, name_of, served
from training.exporting.forms import forms_of
from training.exporting.gguf_adapter import gguf_adapter
from training.exporting.merged import merged, whole
from training.models.loading import base_of, is_adapter, load, source_of
from training.models.mtp import MtpModule
from training.modules import module_of
from training.runtime.job import Job, Outcome
from training.settings import FormName, Mtp


def run(job: Job) -> Outcome:
    """Export what the stage before left, in each form that the recipe names. The main process alone does.

    Raises:
        UserError: nothing was trained, or a form cannot be had of it.
    """
    if job.weights is None:
        raise UserError("there is nothing to export: no stage before trained; put one before it in stages")
    found: list[Exported] = []
    whole = not job.world.main or _exported(job, job.weights, found)
    if job.world.any(not whole):
        return Outcome(job.weights, False, "stopped between two forms; the export begins anew, as asked")
    figures = {f"{one.form}_{name}": value for one in found for name, value in one.figures.items()}
    return Outcome(job.weights, figures=figures, notes=tuple(line for one in found for line in one.notes))


def _exported(job: Job, weights: Path, found: list[Exported]) -> bool:
    """Export into `found`; false where that was stopped before the end."""
    for one in exports(job, weights):
        found.append(one)
        for line in one.notes:
            job.say(line)
        if job.stop.asked and len(found) < len(_forms(job)):
            return False
    return True


def exports(job: Job, weights: Path) -> Iterator[Exported]:
    """The exports, one after the other, into the stage's folder."""
    plan = _Plan(job, weights, job.folder.stage("export"), name_of(job.recipe.name))
    for form in _forms(job):
        yield _FORMS[form](plan)


def _forms(job: Job) -> tuple[FormName, ...]:
    """Those of the recipe; where it names none, with the drafter that another run fitted as well."""
    forms, named = forms_of(job.recipe), job.recipe.export.forms
    drafts = job.recipe.model.mtp and not named and "drafter" not in forms and module_of(job)
    return (*forms, "drafter") if drafts else forms


@dataclass(frozen=True, slots=True)
class _Plan:
    job: Job
    weights: Path
    folder: Path
    name: str
    made: set[Path] = field(default_factory=set)
    """The merged weights that this export wrote: a folder of that name may be left from an earlier one."""

    @property
    def base(self) -> Path:
        """The folder of the weights below the adapter, or the whole weights."""
        return base_of(self.weights, self.job.recipe.model) if is_adapter(self.weights) else self.weights.resolve()

    @property
    def target(self) -> str:
        """What `kat serve` calls the weights below: the recipe's name of them, or their folder."""
        table = self.job.recipe.model
        untouched = is_adapter(self.weights) and self.base == source_of(table)
        return table.source if untouched else str(self.base)

    def merged(self) -> Path:
        """The whole weights that a drafter stands beside; an adapter is merged for it, if it was not yet."""
        if not is_adapter(self.weights):
            return self.weights
        out = self.folder / f"{self.name}-merged"
        if out not in self.made:
            _merged(self)
        return out

    def adapter(self, form: str) -> Path:
        """The adapter. Raises UserError where whole weights were trained."""
        if not is_adapter(self.weights):
            raise UserError(f"the run trained whole weights, so there is no {form}; set export.forms = ['merged']")
        return self.weights


def _adapter(plan: _Plan) -> Exported:
    trained = plan.adapter("adapter")
    files = expect_served(trained, plan.base)
    out = copied(trained, plan.folder / f"{plan.name}-adapter")
    called = served_name(plan.name, expect_served(out, plan.base).version)
    dialect = plan.job.recipe.model.dialect
    serve = served(plan.target, "--dialect", dialect, "--adapter", f"{plan.name}={out.resolve()}")
    said = f"rank {files.rank}, within vLLM's rules"
    return Exported("adapter", out, serve, asked(called, dialect), {"rank": files.rank}, said, plan.name)


def _merged(plan: _Plan) -> Exported:
    recipe, out = plan.job.recipe, plan.folder / f"{plan.name}-merged"
    found = merged(recipe.model, plan.weights, out, recipe.export.prompts, plan.job.world.device)
    plan.made.add(out)
    serve = served(str(out.resolve()), "--dialect", recipe.model.dialect)
    figures = {"largest": found.largest, "mean": found.mean}
    ask = asked(out.name, recipe.model.dialect)
    return Exported("merged", out, serve, ask, figures, found.sentence, out.name)


def _gguf(plan: _Plan) -> Exported:
    recipe, out = plan.job.recipe, plan.folder / f"{plan.name}.gguf"
    gguf_adapter(plan.adapter("GGUF adapter"), plan.base, out)
    entry = known(recipe.model.source)
    if entry and entry.name == "nano" and plan.target == recipe.model.source:
        ask = f"kat ask 'What is this repository for?' --engine embedded --adapter {out.resolve()}"
    else:
        ask = asked(Path(plan.target).stem, recipe.model.dialect)
    packed = (entry and entry.quantization == "gguf") or plan.target.endswith(".gguf")
    target = plan.target if packed else f"{Path(plan.target).name}.gguf"
    serve = served(
        target, "--dialect", recipe.model.dialect, "--adapter", f"{plan.name}={out.resolve()}", runner="llama"
    )
    said = "an adapter for llama.cpp" + ("" if packed else f", which wants the model below it as {target}")
    return Exported("gguf", out, serve, ask, said=said)


def _drafter(plan: _Plan) -> Exported:
    recipe, found = plan.job.recipe, module_of(plan.job)
    if found is None:
        raise UserError("the run has no MTP module to export; give the recipe [model.mtp] and the stage distill")
    module, out = MtpModule.load(found), plan.folder / f"{plan.name}-drafter"
    stale = "" if found.parent == plan.weights else "fitted before the last stage; distill.drafter_only fits it again"
    depth, dialect = (recipe.model.mtp or Mtp()).depth, recipe.model.dialect
    if module.layout == "eagle":
        eagle(module, out)
        target = plan.merged()
    else:
        target = mimo(module, whole(load(recipe.model, weights=plan.weights, train=False)), out)
    behind = ("--speculative-config", speculation(module.layout, out, depth))
    serve = served(str(target.resolve()), "--dialect", dialect, "--speculate", "off", behind=behind)
    return Exported("drafter", out, serve, asked(target.name, dialect), said=stale)


_FORMS: dict[str, Callable[[_Plan], Exported]] = {
    "adapter": _adapter,
    "merged": _merged,
    "gguf": _gguf,
    "drafter": _drafter,
}
