"""Step-SRPO for teams that run verl on Ray: an advantage estimator and a reward manager under verl's names.

Let verl import this module (``VERL_USE_EXTERNAL_MODULES=training.verl_plugin``), and set
``algorithm.adv_estimator=step_srpo`` and ``reward_model.reward_manager=kat``. verl 0.9 wants transformers below 5.11,
so that it lives in an environment of its own; nothing here needs it to be imported.

verl hands an estimator token-level rewards and nothing else of ours. So the manager puts what the reply earned on its
last token, and on the last one of the judge and mark which mode it chose, as a reward too small to count.
What a user wished as to thinking is not handed on, and so does not count here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from assistant.errors import UserError
from model.dialects import dialect
from model.engines.torch_tokens import Tokens
from model.format import Mode
from training.advantages import OFF, ON, UNKNOWN, Groups, Rules, advantages, balance, by_token
from training.budgets import Voice
from training.examples import Place
from training.rewards import judged, right_modes, well_formed
from training.sampling import Drawn
from training.settings import AdvantageName, Rewards

Registry = Callable[[str], Callable[[Any], Any]]
MARK = 2.0**-12
"""On the last token of judge and mark: once for a reply without a thought, twice for one with; our choice."""


def step_srpo(
    token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: Sequence[Any], config: Any = None, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages (B, T) and returns, which are the same. `index` names each rollout's group; all are equally large."""
    told: Mapping[str, Any] = config or {}
    name: AdvantageName = told.get("kat_advantage", "step_srpo")
    order = sorted(range(len(index)), key=lambda one: (str(index[one]), one))
    group = len(index) // len({str(each) for each in index})
    places, modes, rewards = read(token_level_rewards, response_mask)
    groups = _groups(rewards[order].view(-1, group), modes[order].view(-1, group), response_mask[order].sum(-1))
    found = advantages(name, groups, Rules(bias=float(told.get("kat_mode_bias", 0.01))))
    judges = int(((places == Place.JUDGE) & response_mask.bool()).sum())
    weights = balance(judges, int(response_mask.sum()), float(told.get("kat_judge_share", 0.2)))
    tokens = torch.zeros_like(token_level_rewards)
    tokens[order] = by_token(found, places[order], weights).to(tokens.dtype)
    tokens = tokens * response_mask
    return tokens, tokens


def read(rewards: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Segments (B, T), modes (B,) and outcomes (B,) from rewards (B, T) as `Manager` writes them.

    Raises:
        UserError: something else was added to them.
    """
    last = mask.long().cumsum(-1).argmax(-1, keepdim=True)
    outcome = rewards.gather(1, last)
    marks = rewards.scatter(1, last, 0.0)
    if bool(((marks != 0).sum(-1) > 1).any()):
        raise UserError("rewards hold more than an outcome and a mode; set algorithm.use_kl_in_reward=False")
    known = (marks != 0).any(-1)
    end = (marks != 0).long().argmax(-1, keepdim=True)
    modes = torch.where(known, torch.where(marks.amax(-1) > 1.5 * MARK, ON, OFF), UNKNOWN)
    steps = torch.arange(rewards.shape[1], device=rewards.device)
    judge = (steps <= end) & known[:, None]
    return torch.where(judge, int(Place.JUDGE), int(Place.ANSWER)), modes, outcome[:, 0]


def _groups(rewards: torch.Tensor, modes: torch.Tensor, lengths: torch.Tensor) -> Groups:
    accuracy = (rewards >= 1).to(rewards.dtype)
    nobody = torch.full((len(rewards),), UNKNOWN, device=rewards.device)
    judges = judged(modes, right_modes(accuracy, modes, nobody), Rewards())
    return Groups.of(rewards, accuracy=accuracy, modes=modes, judges=judges, lengths=lengths.view_as(rewards).float())


class Manager:
    """verl's reward manager: `compute_score` tells whether a reply is right, from 0 to 1; the form is read here."""

    def __init__(
        self, tokenizer: Any, num_examine: int, compute_score: Any, reward_fn_key: str = "data_source"
    ) -> None:
        self._voice = Voice(Tokens(tokenizer, None, 0), dialect("kat"))
        self._score, self._key = compute_score, reward_fn_key

    def __call__(self, data: Any, return_dict: bool = False) -> Any:
        """Rewards (B, T) of a batch."""
        responses = data.batch["responses"]
        lengths = data.batch["attention_mask"][:, -responses.shape[1] :].sum(-1).tolist()
        rewards = torch.zeros(responses.shape, dtype=torch.float32)
        for number, length in enumerate(lengths):
            ids = responses[number, : int(length)].tolist()
            self._one(rewards[number], ids, {name: values[number] for name, values in data.non_tensor_batch.items()})
        return {"reward_tensor": rewards} if return_dict else rewards

    def _one(self, rewards: torch.Tensor, ids: Sequence[int], about: Mapping[str, Any]) -> None:
        ended = bool(ids) and ids[-1] in self._voice.tokens.ends
        drawn = Drawn(tuple(ids), (0.0,) * len(ids), (True,) * len(ids), "stop" if ended else "length")
        written = self._voice.read(drawn)
        reply, truth = written.reply, about["reward_model"]["ground_truth"]
        right = self._score(data_source=about.get(self._key), solution_str=reply.answer, ground_truth=truth)
        if reply.mode is not None:
            at = written.places.count(Place.JUDGE) - 1
            rewards[max(0, min(at, len(ids) - 2))] = MARK * (2 if reply.mode is Mode.ON else 1)
        rewards[len(ids) - 1] = float(right) + Rewards().format * well_formed(written, self._voice.dialect)


def register(estimators: Registry, managers: Registry) -> None:
    """Give both to verl's registries; done on import where verl is installed."""
    estimators("step_srpo")(step_srpo)
    managers("kat")(Manager)


try:
    from verl.trainer.ppo.core_algos import register_adv_est
    from verl.workers.reward_manager import register as register_manager
except ImportError:
    pass
else:
    register(register_adv_est, register_manager)
