"""What a training recipe says: frozen dataclasses that `training.recipe.build` reads TOML against.

A recipe names its stages; each has a table of its name, and takes the model where the stage before left it. Defaults
are written at the fields: those of KAT's team where they are published, and else our choice, which the docs of each
field's stage say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

StageName = Literal["distill", "coldstart", "rl", "eval", "export"]
"""In the order of KAT-V1's report (arXiv 2507.08297): distillation, cold start, Step-SRPO; then what comes of it."""
TRAINS: tuple[StageName, ...] = ("distill", "coldstart", "rl")
"""The stages that leave other weights than they were given; each has a table of its name, a `Fit`."""
ORDER: tuple[StageName, ...] = ("distill", "coldstart", "rl", "eval", "export")
Layout = Literal["eagle", "mimo"]
"""How an MTP module is wired, and so what vLLM serves it as: beside the model (EAGLE), or within its checkpoint."""
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Low-rank adapters (arXiv 2106.09685) through peft. vLLM takes ranks 1, 8, 16, 32, 64, 128, 256, 320, 512."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expand:
    """Depth expansion: `layers` new blocks, spread evenly, each a copy of the one below with zeroed output
    projections, so that the function is the same at step 0 (as LLaMA Pro, arXiv 2401.02415); only they are trained,
    with `also` (``norms``, ``head``) besides."""

    layers: int = 0
    also: tuple[Literal["norms", "head"], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mtp:
    """One module for multi-token prediction, applied `depth` times with shared weights (FastMTP, arXiv 2509.18362)."""

    depth: int = 3
    layout: Layout = "eagle"
    decay: float = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTable:
    """`source` is a name of the catalogue (``nano``, ``KAT-V1-40B``), a hub id, a folder, or a GGUF file.

    `dtype` is what the model computes in; master weights of what is trained are fp32 in any case.
    """

    source: str = "nano"
    revision: str = ""
    dialect: str = "kat"
    dtype: Dtype = "bfloat16"
    lora: Lora | None = None
    expand: Expand | None = None
    mtp: Mtp | None = None
    checkpointing: bool = False
    """Compute activations of blocks again in the backward pass: less memory, about a third more time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """`samples` and `tasks` are folders of shards (any fsspec path) as `kat train data` writes them, relative to the
    recipe; `recipe` is a recipe for data that is run first where they are not there. `row` is a packed row in tokens;
    longer samples are left out, and counted. `limit` is how many samples at most, 0 all of them. `folders` are
    repositories in place of those that the recipe for data names; `set` are more of its options, as `--set` has them.
    `sources` is where the tasks' sources were profiled, so that their tests can be run; without it, patches are
    compared with the known one."""

    samples: str = ""
    tasks: str = ""
    sources: str = ""
    recipe: str = ""
    folders: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    row: int = 2048
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How weights are fitted: shared by all stages that train.

    `batch` is tokens of an update, over all processes; `steps` counts updates, 0: one epoch. `warmup` is a number of
    updates. Optimiser: AdamW; `schedule` is that of its rate behind the warm-up.
    """

    steps: int = 0
    epochs: float = 1.0
    batch: int = 16_384
    lr: float = 1e-5
    warmup: int = 20
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.95)
    decay: float = 0.0
    clip: float = 1.0
    save: int = 200
    keep: int = 2
    evaluate: int = 200
    chunk: int = 1024
    """Positions that the head projects at once, its logits computed again in the backward pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distill(Fit):
    """MTP-enhanced distillation. `teacher` is as `model.source`, or ``http://…`` of a vLLM server that runs it; empty:
    the texts of the data alone, with plain cross-entropy. `store` is a folder of rows it gave before.

    `share` is a, the weight of KD beside CE where teacher rows exist; `mtp` is m at first and at last; `mtp_share` is
    r. `on_policy` is the share of updates on the student's own texts, scored by the teacher (GKD, arXiv 2306.13649).
    """

    teacher: str = ""
    store: str = ""
    top: int = 64
    temperature: float = 1.0
    share: float = 0.9
    mtp: tuple[float, float] = (0.3, 0.1)
    mtp_share: float = 0.5
    on_policy: float = 0.0
    drafter_only: bool = False
    """Fit the MTP module alone to the model's own head: what is done again after reinforcement learning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coldstart(Fit):
    """Supervised fine-tuning on samples whose modes were voted; intent-aware prompts are among the samples.

    `balance` weighs the judge and mark, so that they hold this share of the loss (0: a plain mean over tokens).
    """

    lr: float = 2e-5
    balance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """How rewards are put together.

    `format` is HiPO's (arXiv 2509.23967). `margin` is how much more often a task must be solved with a thought for
    thinking to be right (HiPO's delta; its value is our choice), `solid` how often it must be without one for not
    thinking to be right, `under` is what not thinking costs where it was needed, `over` what thinking earns where it
    was not, `length` weighs what a short right reply earns over a long one; these are our choice.
    """

    format: float = 0.2
    margin: float = 0.1
    solid: float = 0.5
    under: float = -1.0
    over: float = 0.0
    length: float = 0.0


AdvantageName = Literal["step_srpo", "grpo", "hipo", "adaptthink", "thinkless", "autothink", "arm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rl(Fit):
    """Step-SRPO. `prompts` tasks an update, `group` rollouts of each; where `paired`, a quarter of them is forced into
    each mode, and half choose. `episodes` is the share of tasks that are played as whole agent episodes.

    `engine` is ``local`` (the trainer's own weights), or an URL of a vLLM server that adapters are loaded into.
    Learning rate, betas and a constant schedule are SRPO's (arXiv 2504.14286); a LoRA wants about ten times the rate.
    """

    advantage: AdvantageName = "step_srpo"
    prompts: int = 8
    group: int = 8
    paired: bool = True
    episodes: float = 0.0
    engine: str = "local"
    temperature: float = 1.0
    tokens: int = 1024
    think: int = 640
    judge: int = 96
    most_steps: int = 8
    rows: int = 64
    """Replies that a device draws at once, in evaluation and for on-policy distillation as well; our choice."""
    lr: float = 1e-6
    schedule: Literal["cosine", "linear", "constant"] = "constant"
    warmup: int = 0
    save: int = 20
    clip_low: float = 0.2
    clip_high: float = 0.28
    correction: float = 2.0
    """Importance ratios between the trainer's and the engine's probabilities are truncated here, token by token."""
    judge_share: float = 0.2
    """Share of an update that the judge and mark hold, whatever their length (segment balance)."""
    mode_bias: float = 0.01
    rewards: Rewards = field(default_factory=Rewards)
    hard: float = 0.1
    """Share of tasks drawn from those that no rollout solved, kept so that the model does not get lazy."""
    resample: bool = True
    """Second stage: tasks that all rollouts solved are dropped by their history, mixed and unsolved ones kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eval:
    """Held-out tasks, before and after, in the modes named. `tasks` as in `[data]`; empty: its test split."""

    tasks: str = ""
    count: int = 100
    modes: tuple[Literal["auto", "on", "off"], ...] = ("auto", "on", "off")
    tokens: int = 1024


FormName = Literal["adapter", "merged", "gguf", "drafter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """`forms`: a LoRA adapter as vLLM takes it, merged weights, a GGUF adapter for the embedded engine, a drafter;
    empty: what suits the recipe's model (`exporting.forms`)."""

    forms: tuple[FormName, ...] = ()
    prompts: int = 8
    """Prompts on which merged weights are compared with the adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the run is meant for: `gpus` of a node, `nodes`, the kind of GPU by `kat serve`'s names (``h100``), or none.

    More than one process is FSDP2; `partition` and `time` go into the Slurm script. `serving` of the GPUs of a single
    node serve rollouts with vLLM, the others train. `threads` is of a process on a CPU, 0: all cores.
    """

    gpus: int = 0
    serving: int = 0
    nodes: int = 1
    gpu: str = ""
    threads: int = 0
    partition: str = ""
    time: str = "24:00:00"

    @property
    def processes(self) -> int:
        """How many processes train, on all nodes: one a GPU, or one alone."""
        return max(1, self.gpus - self.serving) * self.nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole run."""

    name: str
    stages: tuple[StageName, ...]
    seed: int = 0
    model: ModelTable = field(default_factory=ModelTable)
    data: DataTable = field(default_factory=DataTable)
    distill: Distill = field(default_factory=Distill)
    coldstart: Coldstart = field(default_factory=Coldstart)
    rl: Rl = field(default_factory=Rl)
    eval: Eval = field(default_factory=Eval)
    export: Export = field(default_factory=Export)
    hardware: Hardware = field(default_factory=Hardware)
    log: tuple[Literal["tensorboard", "trackio"], ...] = ()
    """Besides the JSONL metrics, which are always written."""
