"""Step-SRPO in TRL: a thin `GRPOTrainer` whose rollouts, advantages and log-probabilities are ours, its loss TRL's.

TRL's private methods that are overridden, or relied on, are held to TRL 1.16 by `tests/training/test_step_srpo.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback

from assistant.errors import UserError
from training.advantages import TWO_SEGMENTS, Groups, Rules, advantages, balance, by_token
from training.columns import Columns
from training.curriculum import Curriculum
from training.examples import Place
from training.head import scoring
from training.layouts import ORDER, Given, in_order, laid_out
from training.rewards import outcome
from training.rollout import Play, Tried, as_trl, row, seats
from training.runtime.checkpoints import rehearsed
from training.runtime.probing import largest_batch
from training.runtime.world import World
from training.seeds import derived
from training.settings import Rewards, Rl
from training.trl_apart import GRPOConfig, GRPOTrainer

T = TypeVar("T")
Seen = Callable[[int, Sequence[str], Sequence[Tried]], None]
"""Told of the rollouts of a step: its number, the tasks' names, and the rollouts."""


def config(rl: Rl, output: str, *, steps: int, size: int = 1, micro: int = 0, seed: int = 0, **more: Any) -> GRPOConfig:
    """TRL's configuration of an update of `rl.prompts` groups of `rl.group` over `size` processes.

    `micro` is how many rollouts a process computes at once, by default all of its own. No KL (SRPO), a token-level
    loss, asymmetric clipping; ratios are truncated token by token (`delta`), never a sequence dropped.

    Raises:
        UserError: groups do not fit into processes.
    """
    mine, rest = divmod(rl.prompts * rl.group, size)
    if rest or mine % rl.group:
        raise UserError(f"{rl.prompts} prompts do not go into {size} processes; make rl.prompts a multiple of {size}")
    micro = next(each for each in range(min(micro or mine, mine), 0, -1) if mine % each == 0)
    told: dict[str, Any] = {
        "output_dir": output, "max_steps": steps, "seed": seed, "data_seed": seed,
        "per_device_train_batch_size": micro, "gradient_accumulation_steps": mine // micro,
        "steps_per_generation": mine // micro, "num_generations": rl.group, "num_iterations": 1,
        "max_completion_length": rl.tokens, "temperature": rl.temperature, "top_p": 1.0, "top_k": 0,
        "learning_rate": rl.lr, "lr_scheduler_type": _SCHEDULES[rl.schedule], "warmup_steps": rl.warmup,
        "adam_beta1": rl.betas[0], "adam_beta2": rl.betas[1], "weight_decay": rl.decay, "max_grad_norm": rl.clip,
        "epsilon": rl.clip_low, "epsilon_high": rl.clip_high, "delta": max(rl.correction, 1 + rl.clip_high + 1e-3),
        "loss_type": "dapo", "beta": 0.0, "shuffle_dataset": False, "ignore_data_skip": True,
        "save_steps": rl.save, "save_total_limit": rl.keep, "logging_steps": 1, "logging_strategy": "steps",
        "report_to": "none", "disable_tqdm": True, "bf16": False, "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(), "remove_unused_columns": False, "log_completions": False,
        "router_aux_loss_coef": 0.0, "save_only_model": False,
    }  # fmt: skip
    return GRPOConfig(**(told | more))


_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


@dataclass(frozen=True, slots=True)
class Work(Generic[T]):
    """What there is to do: tasks by name, how rollouts of them are made, and which are taken when.

    `apart` says that replies come from another engine than the trainer, whose probabilities differ. `longest` is the
    tokens of the longest row that may come; 0: not known, and the largest batch is not tried before the first.
    """

    tasks: Mapping[str, T]
    play: Play[T]
    curriculum: Curriculum
    weights: Rewards = field(default_factory=Rewards)
    rules: Rules = field(default_factory=Rules)
    apart: bool = False
    longest: int = 0
    seen: Seen = lambda step, names, tried: None


class CompactTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPO whose log-probabilities are computed where they count only (`training.head`), and which reads a prompt once
    for all of its replies in a micro-batch, unpadded (`training.layouts`)."""

    def __init__(self, *, chunk: int = 1024, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remove_callback(PrinterCallback)  # whoever wants the figures has a callback
        scoring(self.model, chunk)
        self._inputs: Mapping[str, Any] = {}

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """TRL's loss."""
        self._inputs = inputs
        loss: torch.Tensor = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        self._inputs = {}
        return loss

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Log-probabilities and entropies (B, `logits_to_keep`) of completions; 0 for tokens that carry no loss."""
        own, documents = self._inputs.get("tool_mask"), self._inputs.get("documents")
        found = []
        for start in range(0, len(input_ids), batch_size or len(input_ids)):
            part = slice(start, start + (batch_size or len(input_ids)))
            given = Given(input_ids[part], attention_mask[part], logits_to_keep)
            counts, turns = (None if each is None else each[part] for each in (own, documents))
            rows = laid_out(given, turns, self.model.config)
            with self.accelerator.autocast():
                values = model(**rows.attention(), targets=rows.targets(counts), temperature=self.temperature)
            found.append([rows.completions(value) for value in values])
        logprobs, entropies = (torch.cat(parts) for parts in zip(*found, strict=True))
        return logprobs, entropies if compute_entropy else None, None


class StepSRPOTrainer(CompactTrainer, Generic[T]):
    """Step-SRPO: rollouts by `work.play`, advantages by segment and by name, old log-probabilities those of sampling.

    `args` is as `config` makes it. With `rl.advantage` ``grpo`` and one segment it is GRPO.
    """

    def __init__(
        self,
        *,
        model: Any,
        tokenizer: Any,
        work: Work[T],
        rl: Rl,
        args: GRPOConfig,
        callbacks: Sequence[TrainerCallback] = (),
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        slots = [str(number) for number in range(args.generation_batch_size // args.num_generations)]
        self._work, self._rl = work, rl
        self._columns: Columns | None = None
        self._taken: tuple[int, list[str]] = (-1, [])
        super().__init__(
            chunk=rl.chunk,
            model=model,
            reward_funcs=[self._earned],
            args=args,
            train_dataset=Dataset.from_dict({"prompt": slots}),
            processing_class=tokenizer,
            rollout_func=self._roll,
            callbacks=list(callbacks),
            optimizers=(optimizer, None),
        )

    def _roll(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """TRL's `rollout_func`: prompts are places of the update, each as often as its group is large."""
        if self.state.global_step == 0:
            self._rehearse()
        names = self._names()
        mine = [names[int(slot)] for slot in dict.fromkeys(prompts)]
        step, rl = int(self.state.global_step), self._rl
        asked = seats([self._work.tasks[name] for name in mine], rl.group, paired=rl.paired)
        tried = self._work.play(asked, derived(int(self.args.seed), "rollout", step, self.accelerator.process_index))
        self._work.seen(step, [name for name in mine for _ in range(rl.group)], tried)
        rows = [row(each) for each in tried]
        return as_trl(
            rows,
            columns=[Columns.of(each) for each in tried],
            documents=[each.documents for each in rows],
            places=[each.places for each in rows],
        )

    def _rehearse(self) -> None:
        """Before the first update: the gradients of the largest micro-batch, then a checkpoint there and back.

        Raises:
            UserError: memory does not suffice, or what was read is not what was written.
        """
        if self._work.longest:
            figures = {name: list(values) for name, values in self._metrics["train"].items()}
            with torch.random.fork_rng(), largest_batch():
                self.accelerator.backward(self.compute_loss(self.model_wrapped, self._largest()))
            self.optimizer.zero_grad()
            self.model.zero_grad()
            self._metrics["train"].clear()
            self._metrics["train"].update(figures)
        if self.args.save_strategy == "no":
            return
        folder = Path(self.args.output_dir) / "checkpoint-0"
        world = World(self.accelerator.process_index, self.accelerator.num_processes)
        with rehearsed(lambda: dict(self.model.named_parameters()), world, folder):
            self._save_checkpoint(self.model, None)
            self.callback_handler.on_save(self.args, self.state, self.control)
            self._load_from_checkpoint(str(folder), self.model_wrapped)
            self._load_optimizer_and_scheduler(str(folder))
        self.optimizer.state.clear()  # to save shards torch makes a step of nothing, which moments would remember

    def _largest(self) -> dict[str, torch.Tensor]:
        """A micro-batch as large as any that may come, from which nothing is to be learned."""
        rows, reply = self.args.per_device_train_batch_size, self._rl.tokens
        whole = torch.ones((rows, self._work.longest), dtype=torch.long, device=self.accelerator.device)
        prompt, completion = whole[:, :-reply], whole[:, -reply:]
        different = prompt + torch.arange(rows, device=whole.device)[:, None]
        nothing = torch.zeros(completion.shape, device=whole.device)
        return {
            "prompt_ids": different, "prompt_mask": prompt, "completion_ids": completion, "completion_mask": completion,
            "tool_mask": completion, "documents": 0 * completion, "advantages": nothing, "old_per_token_logps": nothing,
            "num_items_in_batch": completion.sum(),
        }  # fmt: skip

    def _names(self) -> list[str]:
        """The tasks of this update, the same in all processes."""
        step, steps = int(self.state.global_step), int(self.args.max_steps)
        if self._taken[0] != step:
            count = self.args.generation_batch_size // self.args.num_generations
            self._taken = step, self._work.curriculum.take(step, steps, count)
        return self._taken[1]

    def _earned(self, columns: Sequence[Sequence[float]], **_: Any) -> list[float]:
        """TRL's reward function, for its own figures: what each rollout earned by itself."""
        values = torch.tensor(columns)
        earned: list[float] = outcome(values[:, 0], values[:, 1], self._work.weights).tolist()
        return earned

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        """TRL's rewards; what else is known of the rollouts is gathered from all processes beside them."""
        local = torch.tensor([each["columns"] for each in inputs], device=self.accelerator.device)
        self._columns = Columns(self.accelerator.gather(local), self.num_generations)
        rewards: torch.Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._extras = {name: [each[name] for each in inputs] for name in ("documents", "places")}
        return rewards

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """TRL's micro-batches, which it shuffles, with the replies to a prompt beside each other again."""
        before: Any = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        batches: Any = self._buffered_inputs
        if batches is before or batches is None:
            return inputs
        self._buffered_inputs: Any = in_order(batches)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        """TRL's batch with our advantages (B, T), the sampler's log-probabilities, documents and places."""
        out: dict[str, Any] = super()._generate_and_score_completions(inputs)
        assert self._columns is not None
        width, device = out["completion_ids"].shape[1], out["completion_ids"].device
        for name, values in self._extras.items():
            out[name] = torch.tensor([[*each, *[0] * (width - len(each))] for each in values], device=device)
        out[ORDER] = torch.arange(len(out["completion_ids"]), device=device)
        groups = self._columns.groups(self._work.weights)
        self._note(groups)
        out["advantages"] = self._advantages(groups, out)
        out["old_per_token_logps"] = out.pop("sampling_per_token_logps")
        if self._work.apart:
            self._correct(out)
        return out

    def _advantages(self, groups: Groups, out: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, T), of this process."""
        rl, rows = self._rl, len(out["completion_ids"])
        done = self.state.global_step / max(1, self.args.max_steps)
        found = advantages(rl.advantage, groups, replace(self._work.rules, bias=rl.mode_bias, progress=done))
        mine = slice(self.accelerator.process_index * rows, (self.accelerator.process_index + 1) * rows)
        judge, answer = found.judge.reshape(-1)[mine], found.answer.reshape(-1)[mine]
        counts = (out["completion_mask"] * out["tool_mask"]).bool()
        judges = (counts & (out["places"] == Place.JUDGE)).sum()
        both = self.accelerator.gather(torch.stack([judges, counts.sum()])).view(-1, 2).sum(0)
        share = rl.judge_share if rl.advantage in TWO_SEGMENTS else 0.0
        return by_token(
            replace(found, judge=judge, answer=answer), out["places"], balance(int(both[0]), int(both[1]), share)
        )

    def _correct(self, out: dict[str, Any]) -> None:
        """Old log-probabilities of the trainer's own, and advantages times its ratio to the engine's, truncated."""
        ids = torch.cat([out["prompt_ids"], out["completion_ids"]], 1)
        mask = torch.cat([out["prompt_mask"], out["completion_mask"]], 1)
        self._inputs = out
        with torch.no_grad():
            old, _, _ = self._get_per_token_logps_and_entropies(
                self.model, ids, mask, out["completion_ids"].shape[1], self.args.per_device_train_batch_size
            )
        self._inputs = {}
        counts = out["completion_mask"] * out["tool_mask"]
        ratio = torch.exp((old - out["old_per_token_logps"]) * counts)
        self._say("ratio_mean", float((ratio * counts).sum() / counts.sum().clamp(min=1)))
        self._say("ratio_max", float((ratio * counts).max()))
        out["advantages"] = out["advantages"] * ratio.clamp(max=self._rl.correction)
        out["old_per_token_logps"] = old

    def _note(self, groups: Groups) -> None:
        """Figures of the update, and the curriculum's history."""
        assert self._columns is not None
        for name, value in self._columns.figures(groups).items():
            self._say(name, value)
        solved = groups.accuracy.nanmean(-1).tolist()
        known = {name: share for name, share in zip(self._names(), solved, strict=True) if share == share}
        self._work.curriculum.see(known)

    def _say(self, name: str, value: float) -> None:
        self._metrics["train"][name].append(value)
