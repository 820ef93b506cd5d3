"""What `kat fix` does with its options for one repository: it fixes, and delivers what it can prove."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from assistant import interrupts
from assistant.commands.opening import engine_from, repository_root
from assistant.config import Settings, state_dir
from assistant.errors import Exit, UserError
from assistant.fix.progress import Progress
from assistant.fix.report import FixReport, Status
from assistant.fix.request import FixRequest
from assistant.safety.sanitize import sanitize

if TYPE_CHECKING:
    from assistant.fix.run import Judge
    from assistant.tasks.instance import Instance


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be fixed: the request, and where its issue comes from."""

    request: FixRequest
    issue: str | None
    issue_file: Path | None
    instance: Path | None

    def located(self, instance: Instance | None) -> FixRequest:
        """The request for the root of the repository, with its issue, or that of `instance`.

        Raises:
            UserError: there is no repository, or the issue or the instance cannot be read or does not belong here.
        """
        given = [self.issue is not None, self.issue_file is not None, self.instance is not None]
        if sum(given) > 1:
            raise UserError("give the issue with --issue, --issue-file or --instance, not with both")
        root = repository_root(self.request.repository)
        request = replace(self.request, repository=root, issue=self._issue())
        if instance is None:
            return request
        from assistant.tasks.instance import check_base, request_for

        check_base(instance, root)
        return request_for(instance, request)

    def read_instance(self) -> Instance | None:
        """The instance, if one is given. Raises `UserError` where it cannot be read."""
        if self.instance is None:
            return None
        from assistant.tasks.instance import read_instance

        return read_instance(self.instance)

    def _issue(self) -> str | None:
        if self.issue_file is None:
            return self.issue
        try:
            return self.issue_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the issue cannot be read from {self.issue_file}: {error}") from None


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where a proven patch and what is known of it go; without a place the patch goes to standard output."""

    apply: bool = False
    branch: str | None = None
    patch: Path | None = None
    report: Path | None = None
    predictions: Path | None = None
    show_suspects: bool = False
    ci: bool = False
    json: bool = False

    def check(self, root: Path) -> None:
        """What can be known to go wrong before the work begins. Raises `UserError`."""
        if self.branch is None:
            return
        if self.apply:
            raise UserError("give --apply or --branch, not both: one changes your files, the other leaves them alone")
        from assistant.fix.deliver import check_branch

        check_branch(root, self.branch)


def fix_one(wanted: Wanted, delivery: Delivery) -> int:
    """Fix a repository and deliver the patch."""
    progress = Progress()
    try:
        instance = wanted.read_instance()
        if delivery.predictions is not None and instance is None:
            raise UserError("--predictions needs --instance FILE or --tasks DIR, which name what the patch is for")
        request = wanted.located(instance)
        delivery.check(request.repository)
        enter(request.repository)
        with _muted(delivery):
            report = interrupts.run(_report(request, instance, progress, show=not delivery.json))
        _deliver(report, request, instance, delivery)
    except (Exception, KeyboardInterrupt) as error:
        report = _broken(progress.report, error)
        _keep(report, error, delivery, proven=progress.report.status == "fixed")
        _mark(report, delivery, delivered=False)
        raise
    _mark(report, delivery, delivered=report.status == "fixed")
    if delivery.json:
        print(json.dumps(report.as_json()))
    else:
        print(sanitize(report.message), file=sys.stderr)
    return Exit.NOT_ACHIEVED if report.status == "not_fixed" else Exit.DONE


def enter(repository: Path) -> None:
    """Have mounts of our own, where that works: before anything starts a thread."""
    from assistant.fix.namespace import enter as enter_namespace

    enter_namespace(repository, state_dir(os.environ))


async def _report(request: FixRequest, instance: Instance | None, progress: Progress, *, show: bool) -> FixReport:
    from assistant.fix.run import fix
    from assistant.protocols.text import TextOutput

    judge = _judge(instance, request.repository) if instance else None
    watch = TextOutput(sys.stderr, sys.stderr).show if show else lambda _: None
    return await fix(request, lambda: engine_from(request.settings), watch, progress, judge)


def _judge(instance: Instance, root: Path) -> Judge:
    """What has the last word on a patch: the tests of the instance, which nobody was shown."""
    from assistant.tasks.instance import judged

    return lambda report, tests: judged(instance, report, root, tests)


def _deliver(report: FixReport, request: FixRequest, instance: Instance | None, delivery: Delivery) -> None:
    if delivery.report is not None:
        from assistant.fix.story import story

        _write(delivery.report, story(report))
    if delivery.predictions is not None and instance is not None:
        from assistant.tasks.predictions import Predictions

        Predictions(delivery.predictions, model_name(request.settings)).add(instance.id, report.patch)
    if delivery.show_suspects and not delivery.json:
        _show_suspects(report)
    if report.status == "fixed":
        _hand_over(report, request, delivery)


def _hand_over(report: FixReport, request: FixRequest, delivery: Delivery) -> None:
    from assistant.fix.deliver import commit_on_branch, write_patch

    if delivery.branch is not None:
        made = commit_on_branch(report, request.repository, delivery.branch, issue=request.issue)
        said = f"Committed as {made.commit[:12]} on the new branch {made.branch}. {made.note}".strip()
        print(sanitize(said), file=sys.stderr)
    if delivery.apply:
        from assistant.fix.apply import apply_patch

        apply_patch(report.patch, report.files, request.repository, os.environ)
    if delivery.patch is not None:
        write_patch(delivery.patch, report.patch)
    if not (delivery.patch or delivery.apply or delivery.branch or delivery.json or delivery.ci):
        _print(report.patch)


def _muted(delivery: Delivery) -> AbstractContextManager[None]:
    from assistant.fix.annotations import muted

    return muted(sys.stderr, os.environ) if delivery.ci else nullcontext()


def _mark(report: FixReport, delivery: Delivery, *, delivered: bool) -> None:
    """What continuous integration is told."""
    if not delivery.ci:
        return
    from assistant.fix.annotations import annotated, hand_on

    print(annotated(report, os.environ), end="", file=sys.stderr)
    patch = str(delivery.patch) if delivered and delivery.patch else ""
    hand_on(report, os.environ, patch_file=patch, branch=(delivered and delivery.branch) or "")


def model_name(settings: Settings) -> str:
    """What predictions are said to be by."""
    return settings.model or "kat-pilot"


def _broken(report: FixReport, error: BaseException) -> FixReport:
    """The report of a run that `error` ended."""
    if isinstance(error, KeyboardInterrupt):
        status: Status = report.status if report.status == "fixed" else "error"
        return replace(report, status=status, message=f"Interrupted. {report.message}".strip())
    return replace(report, status="error", message=" ".join(str(error).split()))


def _keep(report: FixReport, error: BaseException, delivery: Delivery, *, proven: bool) -> None:
    """What was found before: a proven patch on standard output, another one in a file of ours."""
    if delivery.json:
        print(json.dumps(report.as_json()))
        return
    if isinstance(error, KeyboardInterrupt):
        print(sanitize(report.message), file=sys.stderr)
    if proven:
        _print(report.patch)
    elif report.patch:
        place = state_dir(os.environ) / "fix" / f"{int(time.time())}.patch"
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(report.patch.encode("utf-8", "surrogateescape"))
            print(f"The best attempt so far, which is not proven, is kept in {place}.", file=sys.stderr)


def _show_suspects(report: FixReport) -> None:
    from assistant.fix.localise import table
    from assistant.fix.stages import Localisation

    print(sanitize(table(Localisation(report.suspects, (), report.sources))), file=sys.stderr)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8", "surrogateescape")
    except OSError as error:
        raise UserError(f"the report cannot be written to {file}: {error.strerror}") from None


def _print(patch: str) -> None:
    """The patch for people is harmless to their terminal; for programs it is exact."""
    if sys.stdout.isatty():
        print(sanitize(patch), end="")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(patch.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
