"""Copy-on-write views of a repository: as many as are wanted, none of which costs a copy where the system can help."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from assistant.fix.changes import Change, Changes
from assistant.fix.cloning import copied, link_dependencies, reflinks_work, shown
from assistant.fix.counting import counted, file_state, permission_bits, too_large
from assistant.fix.overlay import overlay, overlays_work, written
from assistant.fix.seeding import seed_snapshots
from assistant.safety.confinement.layering import lay_over, mark_gone
from assistant.safety.confinement.private import private_folder, temporary_folders
from assistant.safety.confinement.toolchains import is_under
from assistant.safety.sandbox import Sandbox

Kind = Literal["overlay", "reflink", "copy"]


@dataclass(frozen=True, slots=True)
class View:
    """A folder that holds the repository's files and may be written; `changes` tells what was."""

    root: Path
    kind: Kind
    repository: Path
    touched: Callable[[], Iterable[str]]
    """Finds the files that may be different now from the repository's."""

    @property
    def snapshots(self) -> Path:
        """Where snapshots of the view may be kept; there is a beginning for them, so that the first is no work."""
        return self.root.parent / "snapshots"

    def changes(self) -> Changes:
        """What is different now from the repository; what git ignores or no patch can hold does not count."""
        known = counted(self.repository, self.touched())
        paths = [path for path in known if not any(too_large(root, path) for root in (self.repository, self.root))]
        return Changes.of(
            Change(path, file_state(self.repository, path), file_state(self.root, path)) for path in paths
        )

    def confined(self, sandbox: Sandbox) -> Sandbox:
        """The repository's sandbox, closed around the view, which commands see where the repository lies."""
        seen = () if self.kind == "overlay" else shown(self.repository, self.root)
        if not sandbox.moves and sandbox.tier != "none":
            link_dependencies(seen)
        return replace(sandbox, repository=self.root, at=self.repository, shown=(*sandbox.shown, *seen))


@dataclass(frozen=True, slots=True)
class Views:
    """Makes views of `repository` in `folder`, in the cheapest way that works there."""

    repository: Path
    folder: Path
    kind: Kind
    under: tuple[Path, ...] = ()
    """Folders that are laid over the repository in each view, below its changes."""

    @contextmanager
    def view(self, changes: Changes) -> Iterator[View]:
        """A new view in which `changes` are made already; gone afterwards.

        Raises:
            UserError: there is no room for it.
        """
        with private_folder(self.folder) as folder, ExitStack() as stack:
            view = self._view(folder, stack)
            seed_snapshots(self.repository, view.snapshots)
            with self.layers(changes) as layers:
                for layer in layers:
                    lay_over(layer, view.root)
            yield view

    @contextmanager
    def layers(self, changes: Changes) -> Iterator[tuple[Path, ...]]:
        """Folders to lay over the repository so that `changes` are seen there; none for no changes but `under`."""
        if not changes:
            yield self.under
            return
        with private_folder(self.folder) as layer:
            for change in changes.changes:
                _write(change, layer, self.repository)
            for change in changes.changes:
                _take_away(change, layer, self.repository)
            yield (*self.under, layer)

    def _view(self, folder: Path, stack: ExitStack) -> View:
        if self.kind == "overlay":
            root = stack.enter_context(overlay(self.repository, folder))
            return View(root, self.kind, self.repository, partial(written, folder / "files", self.repository))
        copy = copied(self.repository, folder / self.repository.name, reflink=self.kind == "reflink")
        return View(copy.root, self.kind, self.repository, copy.touched)


@contextmanager
def views(repository: Path) -> Iterator[Views]:
    """What makes views of a repository; all of them are gone afterwards."""
    root = repository.resolve()
    with ExitStack() as stack:
        for parent in temporary_folders():
            if not os.access(parent, os.W_OK) or is_under(parent.resolve(), (root,)):
                continue
            folder = stack.enter_context(private_folder(parent.resolve()))
            if _tried(folder, partial(overlays_work, root)):
                yield Views(root, folder, "overlay")
                return
        folder = stack.enter_context(private_folder())
        yield Views(root, folder, "reflink" if _tried(folder, partial(reflinks_work, root)) else "copy")


def _tried(folder: Path, works: Callable[[Path], bool]) -> bool:
    with private_folder(folder) as inside:
        return works(inside)


def _write(change: Change, layer: Path, repository: Path) -> None:
    """The file as it is to be; never as old as the one it hides, which programs could take it for."""
    if change.new is None:
        return
    place, hidden = layer / change.path, repository / change.path
    _make_folders(change.path.split("/")[:-1], layer, repository)
    if change.new.mode == "120000":
        place.symlink_to(os.fsdecode(change.new.content))
        return
    place.write_bytes(change.new.content)
    place.chmod(permission_bits(change.new))
    made = place.stat().st_mtime
    if os.path.lexists(hidden) and (older := hidden.lstat().st_mtime) >= int(made):
        os.utime(place, (older + 2, older + 2))


def _make_folders(parts: Sequence[str], layer: Path, repository: Path) -> None:
    """Folders of a layer with the modes of those that they are laid over, also in the place of a link made before."""
    for count in range(len(parts) + 1):
        place, hidden = layer.joinpath(*parts[:count]), repository.joinpath(*parts[:count])
        if place.is_symlink() or place.is_file():
            place.unlink()
        place.mkdir(exist_ok=True)
        if hidden.is_dir() and not hidden.is_symlink():
            shutil.copymode(hidden, place)


def _take_away(change: Change, layer: Path, repository: Path) -> None:
    place = layer / change.path
    if change.new is None and not os.path.lexists(place) and not _below_a_file(place, layer):
        _make_folders(change.path.split("/")[:-1], layer, repository)
        mark_gone(layer, change.path)


def _below_a_file(place: Path, layer: Path) -> bool:
    above = (parent for parent in place.parents if layer in parent.parents)
    return any(os.path.lexists(parent) and (parent.is_symlink() or not parent.is_dir()) for parent in above)
