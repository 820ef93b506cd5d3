from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.tiny import NEEDS_TORCH

pytestmark = [pytest.mark.xdist_group("heavy"), NEEDS_TORCH]
torch = pytest.importorskip("torch")

from assistant.errors import UserError  # noqa: E402
from model.format import Mode  # noqa: E402
from tests.training.toy_family import KAT, tiny, tokenizer, voice  # noqa: E402
from training.advantages import OFF, ON  # noqa: E402
from training.curriculum import Curriculum  # noqa: E402
from training.examples import Place  # noqa: E402
from training.rewards import well_formed  # noqa: E402
from training.rollout import majority, seats  # noqa: E402
from training.sampling import Drawn  # noqa: E402
from training.verl_plugin import MARK, Manager, read, step_srpo  # noqa: E402

TOKENIZER = tokenizer()
VOICE = voice(TOKENIZER, tiny(len(TOKENIZER)))
ON_REPLY = "hard\n</judge>\n\n<think_on>\n<think>\n1+1\n</think>\n\n<answer>\n2\n</answer>"
OFF_REPLY = "easy\n</judge>\n\n<think_off>\n<answer>\n2\n</answer>"


def drawn(text: str, forced: int = 0, finish: str = "stop") -> Drawn:
    ids = TOKENIZER(text)["input_ids"] + ([TOKENIZER.eos_token_id] if finish == "stop" else [])
    own = tuple(number >= forced for number in range(len(ids)))
    return Drawn(tuple(ids), (0.0,) * len(ids), own, finish)


@pytest.mark.parametrize(
    ("text", "formed"),
    [
        (ON_REPLY, 1.0),
        (OFF_REPLY, 1.0),
        (OFF_REPLY.replace("\n</answer>", ""), 0.0),
        ("easy\n</judge>\n\n<think_off>\n<answer>\n\n</answer>", 0.0),
        ("hard\n</judge>\n\n<think_on>\n<think>\n\n</think>\n\n<answer>\n2\n</answer>", 0.0),
        (OFF_REPLY + " more", 0.0),
        ("only a judge", 0.0),
    ],
)
def test_a_reply_is_well_formed_if_the_dialect_would_write_it_so(text, formed):
    assert well_formed(VOICE.read(drawn(text)), KAT) == formed
    assert well_formed(VOICE.read(drawn(text, finish="length")), KAT) == 0.0


def test_each_token_is_in_the_segment_that_training_data_has_it_in():
    written = VOICE.read(drawn(ON_REPLY))
    assert written.reply.mode is Mode.ON
    found = dict.fromkeys(Place, "")
    for token, place in zip(written.drawn.ids[:-1], written.places, strict=False):
        found[place] += TOKENIZER.decode([token])
    assert found[Place.JUDGE] == "hard\n</judge>\n\n<think_on>\n<think>\n"  # a token is where it begins
    assert found[Place.THINK] == "1+1\n</think>\n\n<answer>\n"
    assert found[Place.ANSWER] == "2\n</answer>"
    assert written.places[-1] is Place.ANSWER
    assert len(written.places) == len(written.drawn.ids)


def test_a_judge_and_a_thought_that_spend_their_budget_are_ended():
    watch, text, queue = VOICE.watch(), "", list(TOKENIZER("abcdefghijkl")["input_ids"])
    for token in queue[:5]:
        assert not watch.feed(token, own=True)
    assert TOKENIZER.decode(list(watch.feed(queue[5], own=True))) == "\n</judge>\n\n"
    text = "ab\n</judge>\n\n<think_on>\n<think>\n"
    watch = VOICE.watch()
    for token in TOKENIZER(text)["input_ids"]:
        assert not watch.feed(token, own=False)  # what was prefilled counts for no budget
    due = [list(watch.feed(token, own=True)) for token in TOKENIZER("1234567\n")["input_ids"]]
    assert [bool(each) for each in due] == [False] * 7 + [True]
    assert not any(watch.feed(token, own=False) for token in due[7])
    assert TOKENIZER.decode(due[7]) == "</think>\n\n<answer>\n"  # the newline was there
    assert not any(watch.feed(token, own=True) for token in TOKENIZER("abcdefghijklmnop")["input_ids"])


def test_a_quarter_of_a_group_is_forced_into_each_mode_and_half_chooses():
    made = seats(["a", "b"], 8, paired=True)
    modes = [seat.mode for seat in made[:8]]
    assert [modes.count(each) for each in (None, Mode.ON, Mode.OFF)] == [4, 2, 2]
    assert [seat.mode for seat in seats(["a"], 3, paired=False)] == [None] * 3
    assert majority([Mode.ON, Mode.OFF, None]) is Mode.ON
    assert majority([None]) is None


def test_tasks_that_all_solve_are_dropped_in_the_second_stage_and_hard_ones_kept():
    names = [f"t{number}" for number in range(10)]
    one = Curriculum(names, seed=1, hard=0.25, resample=True)
    assert sorted(one.take(0, 10, 10)) == sorted(names)
    one.see(dict.fromkeys(names[:8], 1.0) | {"t8": 0.5, "t9": 0.0})
    kept = Curriculum(names, seed=1, hard=0.25, resample=True)
    kept.load_state_dict(one.state_dict())
    late = [one.take(step, 10, 4) for step in range(5, 9)]
    assert late == [kept.take(step, 10, 4) for step in range(5, 9)]
    assert all("t9" in taken for taken in late)
    few = Curriculum(names, seed=1, hard=0.1)
    few.see(dict.fromkeys(names[1:], 1.0) | {"t0": 0.0})
    hard = sum(few.take(step, 10_000, 2)[0] == "t0" for step in range(1000)) / 1000
    assert 0.2 + 0.05 < hard < 0.3 + 0.05  # a tenth of two tasks, and a tenth of the others in their turn
    early = Curriculum(names, seed=1, resample=True)
    early.see(dict.fromkeys(names, 1.0))
    assert len(early.take(0, 10, 4)) == 4
    assert len(early.take(9, 10, 4)) == 4  # there is nothing else to take


def test_verl_gets_choice_and_outcome_through_its_rewards_and_segments_back():
    texts = [ON_REPLY, OFF_REPLY, ON_REPLY, OFF_REPLY.replace("2", "3")]
    ids = [[*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id] for text in texts]
    width = max(map(len, ids)) + 2
    responses = torch.tensor([[*row, *[0] * (width - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    truths = [{"ground_truth": "2"}] * 4

    def right(data_source: str, solution_str: str, ground_truth: str) -> float:
        return float(solution_str == ground_truth)

    batch = SimpleNamespace(
        batch={"responses": responses, "attention_mask": mask},
        non_tensor_batch={"reward_model": truths, "data_source": ["x"] * 4},
    )
    rewards = Manager(TOKENIZER, 0, right)(batch)
    places, modes, outcomes = read(rewards, mask)
    assert modes.tolist() == [ON, OFF, ON, OFF]
    assert outcomes.tolist() == pytest.approx([1.2, 1.2, 1.2, 0.2])
    assert (places[1] == Place.JUDGE).sum() == len(TOKENIZER("easy\n</judge>\n\n<think_off>\n<answer>\n")["input_ids"])
    assert rewards.sum().item() == pytest.approx(3.8, abs=7 * MARK)
    found, returns = step_srpo(rewards, mask, ["g", "g", "g", "g"], {"kat_judge_share": 0.0})
    assert torch.equal(found, returns)
    assert not found[mask == 0].any()
    assert found[0, 0] > 0 > found[3, 0]  # thinking was needed, by this group
    assert found[1, len(ids[1]) - 1] > found[3, len(ids[3]) - 1]
    trailing = torch.tensor([[*ids[1][:-1], *ids[1]]])
    batch.batch |= {"responses": trailing, "attention_mask": torch.ones_like(trailing)}
    assert Manager(TOKENIZER, 0, right)(batch).sum().item() < 0.1  # neither right nor well formed
    with pytest.raises(UserError, match="use_kl_in_reward"):
        read(rewards - 0.01 * mask, mask)
