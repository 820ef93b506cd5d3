"""What lies in a place, of whichever kinds: folders that stages wrote, on any file system.

A stage that writes several kinds of records has a folder for each within its own, named by the kind, but for the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from training.data.flow.shards import MANIFEST, Manifest, Place, manifest_of, shards_in, system_of, within
from training.data.schema import KINDS


def manifests(place: Place) -> dict[str, Manifest]:
    """The manifests of all that a stage wrote to a folder, by kind, the folder's own first; none where that has none.

    Raises:
        UserError: the place cannot be reached, or a manifest is none.
    """
    own = manifest_of(place)
    if own is None:
        return {}
    others = {kind: manifest_of(within(place, kind)) for kind in KINDS if kind != own.kind}
    return {own.kind: own, **{kind: one for kind, one in others.items() if one and one.kind == kind}}


def digest_of(found: Mapping[str, Manifest]) -> str:
    """A hash of all content: that of its manifest where it is of one kind."""
    if len(found) == 1:
        return next(iter(found.values())).digest()
    words = "\0".join(f"{kind} {one.digest()}" for kind, one in found.items())
    return hashlib.sha256(words.encode()).hexdigest()


def content(place: Place) -> str | None:
    """A hash of the records in a folder, or of a file; None where neither is there.

    Raises:
        UserError: the place cannot be reached.
    """
    if found := manifests(place):
        return digest_of(found)
    system, path = system_of(place)
    if system.isfile(path):
        return hashlib.sha256(system.cat_file(path)).hexdigest()
    names = sorted(shards_in(system, path)) if system.isdir(path) else []
    sums = [hashlib.sha256(system.cat_file(f"{path}/{name}")).hexdigest() for name in names]
    return hashlib.sha256("".join(sums).encode()).hexdigest() if sums else None


def whole(place: Place, found: Mapping[str, Manifest]) -> bool:
    """Whether all shards are there that a folder's manifests name."""
    return all(
        system_of(path)[0].isfile(system_of(path)[1])
        for number, (kind, manifest) in enumerate(found.items())
        for path in (within(within(place, kind) if number else place, shard.name) for shard in manifest.shards)
    )


def forget(place: Place) -> None:
    """Take the manifest of a folder away, so that it counts as empty."""
    system, path = system_of(place)
    if system.exists(f"{path}/{MANIFEST}"):
        system.rm(f"{path}/{MANIFEST}")
