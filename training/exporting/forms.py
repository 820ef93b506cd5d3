"""Which forms a run can be exported in: known before it begins, so that it does not fail at its end."""

from __future__ import annotations

from assistant.errors import UserError
from training.settings import FormName, Recipe


def forms_of(recipe: Recipe) -> tuple[FormName, ...]:
    """The forms that the recipe names; where it names none, those that suit: an adapter, or whole weights, with the
    drafter where there is one.

    Raises:
        UserError: it names one that its model cannot have.
    """
    model, named = recipe.model, recipe.export.forms
    if not model.lora and (bad := [form for form in named if form in ("adapter", "gguf")]):
        raise UserError(f"[export] the recipe trains whole weights, so there is no {bad[0]}; set forms = ['merged']")
    if not model.mtp and "drafter" in named:
        raise UserError("[export] there is no drafter without a module that drafts; give the recipe [model.mtp]")
    if named:
        return named
    whole: tuple[FormName, ...] = ("adapter",) if model.lora else ("merged",)
    return (*whole, "drafter") if model.mtp and "distill" in recipe.stages else whole
