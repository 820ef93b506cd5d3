"""Every loss and its gradient against autograd of the plain formula, in fp64; and what must not change them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from training.alignment import ULD, Span, aligned, ends, likelihood, span_sums  # noqa: E402
from training.examples import IGNORED, Place  # noqa: E402
from training.head import Head, TokenLogprob, compact, each, spread, summed, token_logprobs  # noqa: E402
from training.losses import CrossEntropy, TopKL, mtp_weights, segment_weights  # noqa: E402
from training.packing import Batch  # noqa: E402

pytestmark = pytest.mark.xdist_group("heavy")
torch.set_num_threads(1)
N, H, V, K = 11, 6, 23, 5
HEADS = {
    "plain": {},
    "bias": {"bias": True},
    "warm": {"temperature": 0.7, "scale": 0.5},
    "capped": {"softcap": 3.0, "temperature": 1.3, "bias": True},
}


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (found * scale).requires_grad_()


def head(kind: str = "plain") -> Head:
    options = dict(HEADS[kind])
    bias = numbers(V, seed=3) if options.pop("bias", False) else None
    return Head(numbers(V, H, seed=2), bias, **options)


def plain_logits(hidden: Tensor, head: Head) -> Tensor:
    logits = hidden @ head.weight.T + (0 if head.bias is None else head.bias)
    logits = logits * head.scale
    return (head.softcap * (logits / head.softcap).tanh() if head.softcap else logits) / head.temperature


def targets(seed: int = 4) -> Tensor:
    return torch.randint(0, V, (N,), generator=torch.Generator().manual_seed(seed))


def teacher(k: int = K, seed: int = 5) -> tuple[Tensor, Tensor]:
    top = numbers(N, V, seed=seed, scale=2.0).detach().log_softmax(-1).topk(k)
    return top.indices, top.values


def plain_logprob(logits: Tensor, wanted: Tensor) -> tuple[Tensor, ...]:
    return (logits.log_softmax(-1).gather(-1, wanted[:, None])[:, 0],)


def plain_kd(logits: Tensor, wanted: Tensor, ids: Tensor, logprobs: Tensor) -> tuple[Tensor, ...]:
    p, log_q = logprobs.exp(), logits.log_softmax(-1)
    q = log_q.exp()
    p_tail, q_tail = 1 - p.sum(-1), 1 - q.gather(-1, ids).sum(-1)
    kd = (p * (logprobs - log_q.gather(-1, ids))).sum(-1) + p_tail * (p_tail.log() - q_tail.log())
    return kd, -log_q.gather(-1, wanted[:, None])[:, 0]


def plain_uld(logits: Tensor, logprobs: Tensor) -> tuple[Tensor, ...]:
    q, p = logits.softmax(-1).sort(-1, descending=True).values, logprobs.exp()
    k = p.shape[-1]
    tail = (q[:, k:].sum(-1) - (1 - p.sum(-1))).abs()
    return ((q[:, :k] - p).abs().sum(-1) + tail,)


CASES = {
    "logprob": (TokenLogprob(), plain_logprob, lambda: (targets(),)),
    "kd": (TopKL(), plain_kd, lambda: (targets(), *teacher())),
    "uld": (ULD(), plain_uld, lambda: (teacher()[1],)),
}


def gradients(value: Tensor, hidden: Tensor, head: Head) -> list[Tensor]:
    inputs = [hidden, head.weight] + ([] if head.bias is None else [head.bias])
    return list(torch.autograd.grad(value, inputs))


def close(one: list[Tensor], two: list[Tensor]) -> None:
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("chunk", [4, 99])
def test_values_and_gradients_are_those_of_the_plain_formula(case: str, kind: str, chunk: int) -> None:
    loss, plain, made = CASES[case]
    hidden, used, extras = numbers(N, H, seed=1), head(kind), made()
    expected = plain(plain_logits(hidden, used), *extras)
    weights = tuple(numbers(N, seed=7 + index).detach() for index in range(loss.graded))
    total = sum((w * v).sum() for w, v in zip(weights, expected, strict=True))
    right = gradients(total, hidden, used)

    found = each(loss, hidden, used, *extras, chunk=chunk)
    close(list(found[: loss.graded]), list(expected))
    close(gradients(sum((w * v).sum() for w, v in zip(weights, found, strict=False)), hidden, used), right)

    value, rest = summed(loss, hidden, used, weights, *extras, chunk=chunk)
    close([value, *rest[: loss.graded]], [total, *expected])
    close(gradients(3 * value, hidden, used), [3 * one for one in right])


def test_a_frozen_head_gets_no_gradient_and_no_rows_are_no_loss() -> None:
    frozen = replace(head(), weight=head().weight.detach())
    hidden = numbers(N, H)
    total, _ = summed(TokenLogprob(), hidden, frozen, (torch.ones(N),), targets())
    (gradient,) = torch.autograd.grad(total, hidden)
    assert gradient.abs().sum() > 0
    used = head()
    none, values = summed(TokenLogprob(), hidden[:0], used, (torch.ones(0),), targets()[:0])
    assert none.item() == 0
    assert values[0].shape == (0,)
    assert torch.autograd.grad(none, used.weight)[0].abs().sum() == 0


def test_entropy_is_that_of_the_distribution_and_low_precision_is_near() -> None:
    hidden, used = numbers(N, H), head()
    logprobs, entropy = token_logprobs(hidden, used.weight, targets(), temperature=0.5)
    likely = (plain_logits(hidden, used) / 0.5).log_softmax(-1)
    torch.testing.assert_close(entropy, -(likely.exp() * likely).sum(-1))
    assert not entropy.requires_grad
    low, _ = token_logprobs(hidden.bfloat16(), used.weight.bfloat16(), targets(), temperature=0.5)
    assert low.dtype == torch.float32
    assert (low - logprobs).abs().max() < 0.1


def test_huge_logits_stay_finite() -> None:
    used = Head(numbers(V, H, scale=300.0))
    ids, logprobs = teacher()
    hidden = numbers(N, H, scale=10.0)
    total, values = summed(TopKL(), hidden, used, (torch.ones(N), torch.ones(N)), targets(), ids, logprobs)
    assert all(bool(torch.isfinite(one).all()) for one in (total, *values, *gradients(total, hidden, used)))


def test_kd_is_zero_at_the_teacher_never_more_than_kl_and_equal_to_it_without_a_tail() -> None:
    hidden, used = numbers(N, H), head()
    own = plain_logits(hidden, used).detach().log_softmax(-1)
    same = own.topk(K)
    weights = (torch.ones(N), torch.zeros(N))
    zero, _ = summed(TopKL(), hidden, used, weights, targets(), same.indices, same.values)
    assert abs(zero.item()) < 1e-12
    assert max(one.abs().max().item() for one in gradients(zero, hidden, used)) < 1e-12
    whole = numbers(N, V, seed=5, scale=2.0).detach().log_softmax(-1)
    kl = (whole.exp() * (whole - own)).sum(-1)
    everything = torch.arange(V).expand(N, V)
    (full, *_), (some, *_) = (
        each(TopKL(), hidden, used, targets(), *rows) for rows in ((everything, whole), teacher())
    )
    torch.testing.assert_close(full, kl)
    assert bool(((some >= 0) & (some <= kl + 1e-12)).all())


def test_stored_log_probabilities_in_half_precision_still_sum_to_one() -> None:
    sure = torch.tensor([[-1e-4, -12.0], [-0.5, -0.9]]).half()
    sure[0, 0] = 0.0  # rounded up: together more than 1
    hidden, used = numbers(2, H), head()
    kd, *_ = each(TopKL(), hidden, used, targets()[:2], torch.tensor([[1, 2], [3, 4]]), sure)
    assert bool((kd >= 0).all())


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(N)), st.integers(1, N))
def test_the_order_of_rows_and_chunks_does_not_matter(order: list[int], chunk: int) -> None:
    hidden, used, extras = numbers(N, H), head(), (targets(), *teacher())
    straight = each(TopKL(), hidden, used, *extras)
    turned = each(TopKL(), hidden[order], used, *(extra[order] for extra in extras), chunk=chunk)
    close([value[order] for value in straight], list(turned))


def batch(width: int = 7) -> Batch:
    """Two rows that carry loss behind a prompt, the second padded more."""
    ids = torch.randint(0, V, (2, width), generator=torch.Generator().manual_seed(1))
    wanted, places = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
    wanted[0, 2:6], wanted[1, 1:3] = torch.tensor([3, 4, 5, 6]), torch.tensor([7, 8])
    places[0, 2:6] = torch.tensor([Place.JUDGE, Place.ANSWER, Place.ANSWER, Place.TOOL])
    places[1, 1:3] = torch.tensor([Place.THINK, Place.ANSWER])
    return Batch(ids, torch.arange(width).repeat(2, 1), torch.zeros_like(ids), wanted, places)


def test_cross_entropy_is_torchs_and_padding_adds_nothing() -> None:
    objective, used, some = CrossEntropy(chunk=2), head(), batch()
    hidden = numbers(2, 7, H)
    found = objective(hidden, used, some, objective.counts(some))
    right = F.cross_entropy(plain_logits(hidden, used).view(-1, V), some.targets.view(-1))
    torch.testing.assert_close(found.total, right)
    torch.testing.assert_close(found.parts["loss_ce"], right)
    assert {"entropy", "loss_judge", "loss_think", "loss_answer", "loss_tool"} <= set(found.parts)
    counts = objective.counts(some)
    assert (counts["tokens"], counts["answer"]) == (6, 3)
    padded, wide = batch(9), torch.cat([hidden, numbers(2, 2, H)], 1)
    torch.testing.assert_close(objective(wide, used, padded, counts).total, right)
    halves = [_rows(some, row) for row in (0, 1)]
    parts = [objective(hidden[n : n + 1], used, half, counts).total for n, half in enumerate(halves)]
    torch.testing.assert_close(sum(parts), right)


def test_a_balance_gives_the_judge_its_share() -> None:
    some = batch()
    weights = segment_weights(some, 0.5)
    judge = some.places == Place.JUDGE
    torch.testing.assert_close(weights.sum(), torch.tensor(6.0))
    torch.testing.assert_close(weights[judge].sum(), torch.tensor(3.0))
    assert bool((weights[some.targets == IGNORED] == 0).all())
    alone = _rows(some, 1)
    torch.testing.assert_close(segment_weights(alone, 0.5), (alone.targets != IGNORED).float())
    plain, balanced = (
        CrossEntropy(balance=b)(numbers(2, 7, H), head(), some, {"tokens": 6.0, **_ones()}) for b in (0, 0.5)
    )
    assert plain.total != balanced.total
    torch.testing.assert_close(plain.parts["loss_ce"], balanced.parts["loss_ce"])


def test_compact_and_spread_undo_each_other() -> None:
    some, hidden = batch(), numbers(2, 7, H)
    rows, wanted = compact(hidden, some.targets)
    assert rows.shape == (6, H)
    back = spread(wanted.double(), some.targets, IGNORED)
    assert torch.equal(back.long(), some.targets)


def test_the_weights_of_depths() -> None:
    assert mtp_weights(3) == pytest.approx((1 / 1.96, 0.6 / 1.96, 0.36 / 1.96))
    assert mtp_weights(0) == ()


CUTS = st.lists(st.text("ab é", max_size=3), max_size=8)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=12), st.sets(st.integers(0, 12)), st.sets(st.integers(0, 12)))
def test_spans_are_the_smallest_that_both_cut_out(text: bytes, one: set[int], two: set[int]) -> None:
    cut: Callable[[set[int]], list[int]] = lambda at: sorted({n for n in at if 0 < n < len(text)} | {len(text)} - {0})  # noqa: E731
    student, theirs = cut(one), cut(two)
    spans = list(aligned(student, theirs))
    borders = [student[span.student.stop - 1] for span in spans]
    assert borders == [theirs[span.teacher.stop - 1] for span in spans]
    assert borders == sorted(set(student) & set(theirs))
    assert [index for span in spans for index in span.student] == list(range(len(student)))
    assert [index for span in spans for index in span.teacher] == list(range(len(theirs)))


def test_spans_of_two_tokenizations_and_their_likelihood() -> None:
    assert ends([0, 1, 2], [3, 0, 2].__getitem__) == [3, 3, 5]
    spans = list(aligned([1, 3, 3, 6], [3, 5, 6, 9]))
    assert spans == [Span(range(3), range(1)), Span(range(3, 4), range(1, 3))]
    logprobs = numbers(4)
    sums = span_sums(logprobs, [span.student for span in spans])
    torch.testing.assert_close(sums, torch.stack([logprobs[:3].sum(), logprobs[3]]))
    assert torch.autograd.grad(sums[0], logprobs)[0].tolist() == [1, 1, 1, 0]
    p, q = torch.tensor([0.3, 0.9], dtype=torch.float64), torch.tensor([0.5, 0.2], dtype=torch.float64)
    right = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    torch.testing.assert_close(likelihood(q.log(), p.log()), right)
    assert likelihood(p.log(), p.log()).abs().max() < 1e-12
    assert bool(torch.isfinite(likelihood(torch.tensor([0.0, -90.0]), torch.tensor([-90.0, 0.0]))).all())


def _rows(some: Batch, row: int) -> Batch:
    return Batch(*(getattr(some, name)[row : row + 1] for name in Batch.__slots__))


def _ones() -> dict[str, float]:
    return {place.name.lower(): 1.0 for place in Place}
