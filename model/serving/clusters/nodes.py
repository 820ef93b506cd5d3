"""Files that start a model elsewhere: on the nodes of Slurm, of a Ray cluster, of Kubernetes, or by docker compose."""

from __future__ import annotations

from enum import StrEnum
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from model.serving.clusters.layout import NoFile, layout
from model.serving.plan import Launch, Plan


class Kind(StrEnum):
    """Whose file it is."""

    SLURM = "slurm"
    RAY = "ray"
    K8S = "k8s"
    COMPOSE = "compose"


def render(kind: str, plan: Plan, launch: Launch, *, version: str | None = None) -> str:
    """The whole file for the plan and the launch; no secret is in it.

    `version` of KAT Pilot is what the nodes install beside vLLM, this one if None.

    Raises:
        NoFile: there is no such kind, or the plan cannot be laid out so; a ValueError with one sentence.
    """
    from model.serving.clusters.compose import compose_file
    from model.serving.clusters.kubernetes import manifest
    from model.serving.clusters.ray_cluster import cluster_file
    from model.serving.clusters.slurm import slurm_script

    writers = {Kind.SLURM: slurm_script, Kind.RAY: cluster_file, Kind.K8S: manifest, Kind.COMPOSE: compose_file}
    if kind not in writers:
        raise NoFile(f"no file is written for {kind!r}; choose {', '.join(writers)}")
    return writers[Kind(kind)](plan, launch, layout(plan), version or _version())


def _version() -> str:
    try:
        return installed_version("kat-pilot")
    except PackageNotFoundError:
        return "0.0.0"
