"""Votes as algebra, and the stage that goes by them."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.format import Mode, ThinkRequest
from model.prompt import Message
from training.data.asking.pass_rates import PassRates, counted
from training.data.modes.judging import FEWEST, MOST, judge_text, length, share
from training.data.modes.voting import added, decided, strata, table
from training.data.schema import Provenance, Refused, Reply, Rollout, Sample, Tags, Verification, Votes
from training.data.stage import Context
from training.data.vote import Vote
from training.seeds import rng

ON, OFF = Mode.ON, Mode.OFF
RIGHT = Verification("construction", 1)
passes = st.lists(st.booleans(), max_size=6)
votes = st.builds(
    lambda on, off: Votes(sum(on), len(on), sum(off), len(off)), st.lists(st.booleans()), st.lists(st.booleans())
)


def rollout(task, mode, number, passed, answer="x", think="t"):
    reply = Reply("", mode, think if mode is ON else "", answer, closed=True)
    return Rollout(f"rollout-{task}-{mode}-{number}", task, mode, reply, passed, "execution")


def rollouts(task, on, off):
    tries = ((ON, on), (OFF, off))
    return [rollout(task, mode, number, bool(p)) for mode, each in tries for number, p in enumerate(each)]


def sample(task, mode, answer="answer", *, family="trace", **more):
    think = "a thought" if mode is ON else ""
    known = {"verification": RIGHT, "task": task, **more}
    return Sample(
        f"{task}-{mode}-{answer}", family, mode, (Message("user", task),), answer, Provenance("s"), think=think, **known
    )


def voted(samples, tries, **options):
    watched = []
    stage = Vote(**{"random": 0.0, **options})
    found = list(stage.among(samples, PassRates.among(tries), Context(None, watch=watched.append)))
    kept = [each for each in found if isinstance(each, Sample)]
    return kept, [each for each in found if isinstance(each, Refused)], watched


@given(passes, passes, st.randoms())
def test_the_order_of_tries_is_no_matter(on, off, random):
    tries = rollouts("t", on, off)
    shuffled = random.sample(tries, len(tries))
    assert counted(tries) == counted(shuffled) == Votes(sum(on), len(on), sum(off), len(off))


@given(votes, st.sampled_from([0.0, 0.05, 0.25, 1.0]))
def test_the_higher_pass_rate_wins_and_a_difference_within_delta_means_off(each, delta):
    mode = decided(each, delta)
    if not each.on_tried or not each.off_tried or not each.on_passed + each.off_passed:
        assert mode is None
        return
    gain = Fraction(each.on_passed, each.on_tried) - Fraction(each.off_passed, each.off_tried)
    assert mode is (ON if gain * 100 > round(delta * 100) else OFF)
    assert decided(added([each, each]), delta) is mode


@pytest.mark.parametrize(
    ("each", "delta", "mode"),
    [
        (Votes(4, 4, 4, 4), 0.0, OFF),
        (Votes(3, 10, 2, 10), 0.1, OFF),  # 0.3 - 0.2 is more than 0.1 in floats
        (Votes(3, 10, 2, 10), 0.0999, ON),
        (Votes(0, 4, 0, 4), 0.0, None),
        (Votes(4, 4, 0, 0), 0.0, None),
        (Votes(0, 0, 4, 4), 0.0, None),
        (Votes(1, 4, 0, 4), 0.05, ON),
        (Votes(0, 4, 1, 4), 0.05, OFF),
    ],
)
def test_ties_and_single_modes(each, delta, mode):
    assert decided(each, delta) is mode


def test_the_shortest_right_reply_of_the_winning_mode_is_kept_with_its_votes():
    samples = [sample("a", ON), sample("a", OFF), sample("b", ON, "long answer"), sample("b", OFF)]
    tries = rollouts("a", [1, 1], [1, 1]) + rollouts("b", [1, 1], [0, 1])
    kept, refused, _ = voted(samples, tries)
    assert [(each.task, each.mode, each.answer, each.think) for each in kept] == [
        ("a", OFF, "x", ""),
        ("b", ON, "x", "t"),
    ]
    assert kept[1].votes == Votes(2, 2, 1, 2, 0.05)
    assert {each.by for each in kept} == {"vote"}
    assert all(each.judge for each in kept)
    assert kept[0].verification.by == "execution"
    assert [(each.id, each.reason) for each in refused] == [(each.id, "outvoted") for each in samples]


def test_a_wrong_or_unverified_reply_is_never_kept_however_short():
    samples = [sample("a", OFF, "long but right"), sample("a", OFF, "no", verification=Verification())]
    tries = [
        rollout("a", OFF, 0, False, "0"),
        rollout("a", OFF, 1, True, "even longer, and right"),
        rollout("a", ON, 0, False),
    ]
    kept, _, _ = voted(samples, tries)
    assert [each.answer for each in kept] == ["long but right"]


@given(st.permutations(range(9)), st.randoms())
def test_order_changes_nothing_but_order(order, random):
    samples = [sample(task, mode, answer) for task in "abc" for mode, answer in ((ON, "1"), (OFF, "1"), (OFF, "22"))]
    tries = rollouts("a", [1, 1], [0, 0]) + rollouts("b", [1, 0], [1, 0])
    straight, shuffled = (
        voted([samples[place] for place in places], each, fewest=2)
        for places, each in ((range(9), tries), (order, random.sample(tries, len(tries))))
    )
    assert sorted(straight[0], key=lambda each: each.id) == sorted(shuffled[0], key=lambda each: each.id)
    assert sorted(map(str, straight[1])) == sorted(map(str, shuffled[1]))
    assert straight[2] == shuffled[2]


def test_tasks_that_nobody_tried_take_the_vote_of_their_stratum_where_it_has_enough():
    hard = Tags(difficulty="hard")
    samples = [sample(task, mode, tags=hard) for task in "abcd" for mode in Mode] + [sample("e", mode) for mode in Mode]
    tries = [each for task in "abc" for each in rollouts(task, [1, 1], [0, 1])]
    kept, _, watched = voted(samples, tries)
    by_task = {each.task: (each.mode, each.by, each.votes.on_tried) for each in kept}
    assert by_task["a"] == (ON, "vote", 2)
    assert by_task["d"] == (ON, "stratum", 6)
    assert [each for each in kept if each.task == "e"] == samples[-2:]
    assert watched[-1] == "| trace | hard | 3 | 6 / 6 | 3 / 6 | on |"
    assert {each.by for each in voted(samples, tries, strata=False)[0] if each.task == "d"} == {"regime"}
    assert {each.by for each in voted(samples, tries, fewest=4)[0] if each.task == "d"} == {"regime"}


def test_what_was_decided_otherwise_stays():
    asked = sample("a", ON, request=ThinkRequest.ON, by="request")
    step = sample("a", ON, family="agent_step")
    kept, refused, _ = voted([asked, step, sample("a", OFF)], rollouts("a", [0, 0], [1, 1]))
    assert kept[:2] == [asked, step]
    assert (len(kept), len(refused)) == (3, 1)


def test_without_a_right_reply_in_the_winning_mode_nothing_is_kept():
    kept, refused, _ = voted([sample("a", ON)], [rollout("a", OFF, 0, True, ""), rollout("a", ON, 0, False)])
    assert (kept, [each.reason for each in refused]) == ([], ["no_reply"])


def test_about_the_random_share_gets_a_random_mode():
    tasks = [f"task {number}" for number in range(500)]
    tries = [each for task in tasks for each in rollouts(task, [0], [1])]
    samples = [sample(task, mode) for task in tasks for mode in Mode]
    kept, _, _ = voted(samples, tries, random=0.4)
    drawn = [each for each in kept if each.by == "random"]
    assert len(kept) == len(tasks)
    assert 160 <= len(drawn) <= 240
    assert 0.35 <= sum(each.mode is ON for each in drawn) / len(drawn) <= 0.65
    assert kept == voted(samples, tries, random=0.4)[0]
    assert kept != voted(samples, tries, random=0.4, seed=1)[0]


def test_a_stratum_counts_each_task_once():
    rates = PassRates.among(rollouts("a", [1], [0]) * 2)
    (line,) = list(table(strata([sample("a", ON), sample("a", OFF)], rates), 0.05))[2:]
    assert line == "| trace | medium | 1 | 1 / 1 | 0 / 1 | on |"


@given(
    st.integers(0, 999),
    st.sampled_from(Mode),
    votes,
    st.sampled_from(["en", "zh"]),
    st.sampled_from(["easy", "medium", "hard"]),
    st.sampled_from(["repair", "trace", "agent", "else"]),
)
def test_a_judge_is_short_and_of_its_language(seed, mode, each, language, difficulty, kind):
    tags = Tags(type=kind, difficulty=difficulty, language=language)
    text = judge_text(rng(seed, "judge"), mode, tags, each, language)
    assert FEWEST <= length(text) <= MOST
    assert ("。" in text) is (language == "zh")
    assert "{" not in text
    assert not any(character.isdigit() for character in text)


def test_a_judge_names_the_evidence():
    clear = Votes(4, 4, 0, 4, 0.05)
    texts = {judge_text(rng(seed, "j"), ON, Tags(type="repair"), clear) for seed in range(40)}
    assert all("never" in text and "always" in text for text in texts)
    assert len(texts) >= 15
    wished = {judge_text(rng(seed, "j"), OFF, Tags(intent=-0.8), clear) for seed in range(20)}
    assert all("wants" in text or "asks for" in text or "wished" in text for text in wished)
    assert [share(*each) for each in ((0, 3), (1, 3), (1, 2), (2, 3), (3, 3))] == [
        "never",
        "seldom",
        "half",
        "mostly",
        "always",
    ]
    assert replace(clear, delta=1.0) != clear
