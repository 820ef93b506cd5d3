"""`kat fix`: from failing tests to a proven patch."""

from __future__ import annotations

from typing import Any

from assistant.commands import fix_options as its
from assistant.commands.opening import checked_rules, settings_from
from assistant.commands.options import (
    HERE,
    Adapter,
    Allow,
    DialectName,
    Engine,
    Json,
    MaxSteps,
    Model,
    ProfileOption,
    Repository,
    Think,
    ThinkBudget,
)
from assistant.fix.request import FixRequest


def fix(
    repo: Repository = HERE,
    test: its.Test = None,
    issue: its.Issue = None,
    issue_file: its.IssueFile = None,
    engine: Engine = None,
    model: Model = None,
    dialect: DialectName = None,
    adapter: Adapter = None,
    think: Think = None,
    profile: ProfileOption = None,
    max_steps: MaxSteps = None,
    think_budget: ThinkBudget = None,
    candidates: its.Candidates = None,
    samples: its.Samples = None,
    strategy: its.Strategy = None,
    seed: its.Seed = None,
    budget_tokens: its.BudgetTokens = None,
    test_timeout: its.TestTimeout = None,
    timeout: its.Timeout = 1_800.0,
    allow_test_edits: its.AllowTestEdits = False,
    apply: its.Apply = False,
    branch: its.Branch = None,
    patch: its.Patch = None,
    report: its.Report = None,
    show_suspects: its.ShowSuspects = False,
    ci: its.Ci = False,
    tasks: its.Tasks = None,
    jobs: its.Jobs = 1,
    out: its.Out = None,
    again: its.Again = False,
    instance: its.Instance = None,
    predictions: its.Predictions = None,
    allow: Allow = None,
    json_: Json = False,
) -> int:
    """Run the tests, have what fails mended in a copy, prove it, and print the patch."""
    from assistant.commands.fix_many import Batch, fix_many
    from assistant.commands.fixing import Delivery, Wanted, fix_one

    draws: dict[str, Any] = {"think": think, "think_budget": think_budget, "seed": seed, "max_steps": max_steps}
    draws |= {"adapter": adapter, "profile": profile}
    settings = settings_from(engine=engine, model=model, dialect=dialect, **draws)
    limits: dict[str, Any] = {"candidates": candidates, "samples": samples, "budget_tokens": budget_tokens}
    limits |= {"test_timeout": test_timeout} if test_timeout else {}
    rules = checked_rules(allow)
    request = FixRequest(repo, settings, test, None, allow_test_edits, timeout, rules, strategy=strategy, **limits)
    wanted = Wanted(request, issue, issue_file, instance)
    delivery = Delivery(apply, branch, patch, report, predictions, show_suspects, ci, json_)
    return fix_many(wanted, delivery, Batch(tasks, jobs, out, again)) if tasks else fix_one(wanted, delivery)
