"""How many weights a stage keeps, and how many of them it trains: counted from a model's shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.architecture import Architecture
from training.settings import Distill, Expand, Lora, ModelTable, Mtp, Recipe, StageName


@dataclass(frozen=True, slots=True)
class Weights:
    """What is in memory: `stored` weights in all, `trained` of them; `words` says how the trained ones came about.

    `frozen` are those that only compute. `shape` is the model's, blocks that were added included.
    """

    shape: Architecture
    stored: int
    trained: int
    words: str

    @property
    def frozen(self) -> int:
        """Weights that are not trained."""
        return self.stored - self.trained


def weights(recipe: Recipe, shape: Architecture, stage: StageName) -> Weights:
    """The weights of a stage of a recipe, whose model has this shape."""
    table = recipe.model
    grown = expanded(shape, table.expand)
    module = mtp_weights(grown, table.mtp) if stage == "distill" and table.mtp else 0
    if module and _drafts(recipe.distill):
        return Weights(grown, grown.parameters + module, module, "the module for multi-token prediction alone")
    own, words = _trained(shape, grown, table)
    stored = grown.parameters + module + (own if table.lora else 0)
    also = f" + {module / 1e6:,.1f} M of the module for multi-token prediction" if module else ""
    return Weights(grown, stored, own + module, words + also)


def expanded(shape: Architecture, expand: Expand | None) -> Architecture:
    """The shape with the blocks that depth expansion adds."""
    return replace(shape, layers=shape.layers + expand.layers) if expand else shape


def block(shape: Architecture) -> int:
    """The weights of one block, on average."""
    return (shape.matrices + shape.vectors - shape.hidden) // shape.layers


def lora_weights(shape: Architecture, lora: Lora) -> int:
    """The weights of an adapter: of each projection, rank × (inputs + outputs) (arXiv 2106.09685, section 4.1)."""
    sides = _sides(shape)
    names = sides if isinstance(lora.targets, str) else [name for name in lora.targets if name in sides]
    return lora.rank * shape.layers * sum(sides[name] for name in names)


def mtp_weights(shape: Architecture, mtp: Mtp) -> int:
    """One block, and the projection of two hidden states to one, however often it is applied.

    EAGLE's block has no first norm; MiMo's module has three norms besides.
    """
    norms = 3 * shape.hidden if mtp.layout == "mimo" else -shape.hidden
    return block(shape) + 2 * shape.hidden**2 + norms


def _drafts(stage: Distill) -> bool:
    return stage.drafter_only


def _trained(shape: Architecture, grown: Architecture, table: ModelTable) -> tuple[int, str]:
    if table.lora:
        count = lora_weights(grown, table.lora)
        return count, f"LoRA of rank {table.lora.rank}: {count / 1e6:,.1f} M"
    if table.expand and table.expand.layers:
        count = grown.parameters - shape.parameters
        count += grown.embeddings if "head" in table.expand.also else 0
        return count, f"{table.expand.layers} new blocks: {count / 1e6:,.1f} M"
    return grown.parameters, f"all {grown.parameters / 1e9:,.2f} B"


def _sides(shape: Architecture) -> dict[str, int]:
    """Inputs and outputs of each projection of a block; of all experts where there are several."""
    hidden, queries, keys = shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    experts = shape.experts
    width = hidden + shape.intermediate if experts is None else experts.count * (hidden + experts.intermediate)
    attention = {"q_proj": hidden + queries, "k_proj": hidden + keys, "v_proj": hidden + keys}
    return attention | {"o_proj": queries + hidden} | dict.fromkeys(("gate_proj", "up_proj", "down_proj"), width)
