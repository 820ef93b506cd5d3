from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.tiny import NEEDS_TORCH

pytestmark = [pytest.mark.xdist_group("heavy"), NEEDS_TORCH]
torch = pytest.importorskip("torch")

from assistant.errors import UserError  # noqa: E402
from model.engines.scripted import ScriptedServer  # noqa: E402
from model.format import Mode, ThinkRequest  # noqa: E402
from model.prompt import Message  # noqa: E402
from tests.model.serving.test_adapters import Loras as AdapterServer  # noqa: E402
from tests.training.small_source import small_source  # noqa: E402
from tests.training.toy_family import KAT, score, tiny, tokenizer, voice  # noqa: E402
from training.budgets import Voice  # noqa: E402
from training.data.repositories.diffs import unified  # noqa: E402
from training.data.schema import Provenance, Task  # noqa: E402
from training.data.stage import Context  # noqa: E402
from training.episodes_played import Desk, Episodes, Recorded  # noqa: E402
from training.examples import Place  # noqa: E402
from training.rollout import Replies, Seat, Tried, Turn, row, seats  # noqa: E402
from training.runtime.world import World  # noqa: E402
from training.sampling import Ask, Drawn, Limits, Sampler, drawn  # noqa: E402
from training.settings import Rl  # noqa: E402
from training.syncing import Server, ServerSampler, read_completion  # noqa: E402

TOKENIZER = tokenizer()
END = TOKENIZER.eos_token_id
MODEL = tiny(len(TOKENIZER))
VOICE = voice(TOKENIZER, MODEL)
ASKS = [Ask((5, 6, 7, 8), (9, 10))] * 3 + [Ask((5, 6, 7))] * 2 + [Ask((11,) * 20)]
LIMITS = Limits(24)


def ids(text: str) -> list[int]:
    return list(TOKENIZER(text)["input_ids"])


def test_log_probabilities_are_those_of_the_model_whatever_stands_beside():
    MODEL.train()
    found = Sampler(MODEL, [END], 0).draw(ASKS, LIMITS, 3)
    assert MODEL.training
    assert MODEL.config._attn_implementation == "sdpa"
    for ask, one in zip(ASKS, found, strict=True):
        assert one.ids[: len(ask.forced)] == ask.forced
        assert one.own == tuple(number >= len(ask.forced) for number in range(len(one.ids)))
        assert (one.finish == "stop") == (one.ids[-1] == END)
        whole = torch.tensor([[*ask.prompt, *one.ids]])
        with torch.no_grad():
            likely = MODEL(input_ids=whole).logits.log_softmax(-1)[0, len(ask.prompt) - 1 : -1]
        expected = likely.gather(-1, torch.tensor(one.ids)[:, None])[:, 0] * torch.tensor(one.own)
        assert torch.allclose(expected, torch.tensor(one.logprobs), atol=1e-4)
    assert [one.ids for one in Sampler(MODEL, [END], 0, rows=2).draw(ASKS, LIMITS, 3)] == [one.ids for one in found]
    assert found[0].ids != found[1].ids
    greedy = Sampler(MODEL, [END], 0).draw(ASKS[:2], Limits(8, temperature=0.0), 3)
    assert greedy[0].ids == greedy[1].ids


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([[0.0, 1.0, 2.0, float("-inf")]])
    chances = torch.linspace(0, 1, 4001)[:-1]
    tokens, logprobs = drawn(logits.expand(4000, 4), chances, 1.0)
    shares = torch.bincount(tokens, minlength=4) / 4000
    assert torch.allclose(shares, logits.softmax(-1)[0], atol=1e-3)
    assert torch.allclose(logprobs[0], logits.log_softmax(-1)[0, tokens[0]])
    warm, _ = drawn(logits.expand(4000, 4), chances, 2.0)
    assert torch.allclose(torch.bincount(warm, minlength=4) / 4000, (logits / 2).softmax(-1)[0], atol=1e-3)


def test_replies_are_posed_forced_budgeted_and_scored():
    play = Replies(Sampler(MODEL, [END], 0, VOICE.watch), VOICE, ids, score, Limits(30), jobs=2)
    found = play(seats(["a1=", "a2="], 4, paired=True), 7)
    assert [one.forced for one in found] == [False, True, False, True] * 2
    assert [one.mode for one in found if one.forced] == [Mode.ON, Mode.OFF] * 2
    for one in found:
        (turn,) = one.turns
        own = turn.written.drawn.own
        if one.forced:
            assert not any(own[: len(VOICE.opening(one.mode))])
        elif len(own) > 6 + len("\n</judge>"):
            assert own.index(False) <= 6 + len("\n</judge>")  # the judge was ended where no tag had begun
    assert play(seats(["a1=", "a2="], 4, paired=True), 7) == found


def test_the_turns_of_an_episode_are_documents_of_one_row():
    made = row(Tried((turn("abc", 3), turn("de", 2)), score("a1=", turn("x", 1).written), Mode.OFF))
    later, reply = (7, 8), ids("de")
    assert made.prompt == (7, 8, 9)
    assert made.completion == (*ids("abc"), END, *later, *reply, END)
    assert made.own == (1, 1, 1, 1, 0, 0, 1, 1, 1)
    assert made.documents == (0,) * 4 + (1,) * 5
    assert made.places[4:6] == (Place.PROMPT,) * 2
    assert made.logprobs == (-0.5,) * 4 + (0.0,) * 2 + (-0.5,) * 3
    lost = row(Tried((turn("abc", 3),), score("a1=", turn("x", 1).written), None, lost=True))
    assert not any(lost.own)


def turn(text: str, prompt: int) -> Turn:
    tokens = (*ids(text), END)
    reply = Drawn(tokens, (-0.5,) * len(tokens), (True,) * len(tokens), "stop")
    return Turn((7, 8, 9)[:prompt], VOICE.read(reply))


def test_a_server_draws_as_the_trainer_does_and_budgets_step_in(tmp_path):
    asked: list[dict[str, Any]] = []
    replies = [ids("abcdefgh"), [*ids("7"), END]]

    async def answer(transport: Any, body: dict[str, Any]) -> Any:
        asked.append(body)
        tokens = replies[len(asked) - 1]
        return {"choices": [{"token_ids": tokens, "logprobs": {"token_logprobs": [-1.0] * len(tokens)}}]}

    server = Server("http://127.0.0.1:9", tmp_path, served="kat-rl@1")
    (found,) = ServerSampler(server, [END], VOICE.watch, answer).draw([Ask((1, 2))], Limits(20))
    assert TOKENIZER.decode(found.ids) == "abcdef\n</judge>\n\n7<|im_end|>"
    assert found.own == (True,) * 6 + (False,) + (True,) * 2
    assert found.logprobs == (-1.0,) * 6 + (0.0,) + (-1.0,) * 2
    assert found.finish == "stop"
    assert [body["prompt"] for body in asked] == [[1, 2], [1, 2, *found.ids[:7]]]
    assert [body["max_tokens"] for body in asked] == [20, 14]
    assert asked[0]["top_k"] == asked[0]["min_p"] == 0  # whatever the model's own settings say
    assert asked[0]["repetition_penalty"] == 1
    with pytest.raises(Exception, match="does not tell the tokens"):
        read_completion({"choices": [{"text": "a"}]})


class Says:
    """Draws what it is told to, by what was said before; `batches` are the sizes of what was asked at once."""

    def __init__(self, tokens: Any, *texts: str) -> None:
        self._tokens, self._texts, self.batches = tokens, texts, list[int]()

    def draw(self, asks: Any, limits: Limits, seed: int = 0) -> list[Drawn]:
        self.batches.append(len(asks))
        return [self._one(ask) for ask in asks]

    def _one(self, ask: Ask) -> Drawn:
        step = self._tokens.decode(ask.prompt).count("<tool_response>")
        begun = self._tokens.decode(ask.forced)
        text = self._texts[min(step, len(self._texts) - 1)]
        on, off = "</judge>\n\n<think_on>\n<think>\n", "</judge>\n\n<think_off>\n<answer>\n"
        reply = (
            text.partition(off)[2] if begun.endswith(off) else f"Well.\n</think>\n\n<answer>\n{text.partition(off)[2]}"
        )
        tokens = [*self._tokens.encode(reply if begun.endswith((on, off)) else text, specials=True), self._end]
        own = (*[False] * len(ask.forced), *[True] * len(tokens))
        return Drawn((*ask.forced, *tokens), (0.0,) * len(own), own, "stop")

    @property
    def _end(self) -> int:
        return max(self._tokens.ends)


class Letters:
    """Every character is a token, and the end of a turn is one."""

    ends = frozenset({1})

    def encode(self, text: str, *, specials: bool) -> list[int]:
        return [ord(each) + 2 for each in text.replace("<|im_end|>", "\x00")]

    def decode(self, tokens: Any) -> str:
        return "".join("<|im_end|>" if each < 3 else chr(each - 2) for each in tokens)


SPOKEN = Voice(Letters(), KAT)


async def test_steps_of_many_episodes_are_drawn_together():
    says = Says(Letters(), "Easy.\n</judge>\n\n<think_off>\n<answer>\n4\n</answer>")
    prompt = KAT.render([Message("user", "2+2")], (), ThinkRequest.ON, "Told so.")
    async with Desk(says, LIMITS, 0) as desk:
        engines = [Recorded(desk, SPOKEN) for _ in range(3)]

        async def told(engine: Recorded) -> str:
            return "".join([delta.text async for delta in engine.stream(prompt, sampling())])

        texts = await asyncio.gather(*map(told, engines))
    assert says.batches == [3]
    assert texts == ["Well.\n</think>\n\n<answer>\n4\n</answer>"] * 3
    (kept,) = engines[0].turns
    assert SPOKEN.tokens.decode(kept.prompt).endswith("<|im_start|>assistant\n<judge>\n")
    assert kept.written.reply.mode is Mode.ON


def sampling() -> Any:
    from model.engine import Sampling

    return Sampling(max_tokens=10)


def test_an_episode_is_played_by_the_assistants_own_loop_and_its_tests_are_run(tmp_path):
    source = small_source(tmp_path)
    arguments = {"path": "shop.py", "old": "max(prices) if", "new": "min(prices) if"}
    call = json.dumps({"name": "edit_file", "arguments": arguments})
    begin = "Easy.\n</judge>\n\n<think_off>\n<answer>\n"
    mended = f"{begin}Mending it.\n</answer>\n<tool_call>\n{call}\n</tool_call>"
    says = Says(Letters(), mended, f"{begin}It takes the smallest now.\n</answer>")
    right = (tmp_path / "shop" / "shop.py").read_text()
    task = Task(
        "t",
        "mutation",
        "cheapest gives the dearest",
        Provenance("shop", "", path="shop.py", function="cheapest"),
        start=unified("shop.py", right, right.replace("min(prices)", "max(prices)")),
        test=source.test,
        fail_to_pass=("test_shop.py::test_cheapest",),
        pass_to_pass=("test_shop.py::test_free",),
    )
    sources = Known(source)
    episodes = Episodes(says, SPOKEN, Context(tmp_path / "cache"), sources, Rl(most_steps=3), LIMITS, 1 << 20)
    found = episodes([Seat(task), Seat(task, Mode.ON)], 0)
    assert [one.score.accuracy for one in found] == [1.0, 1.0], found[0].score
    assert [len(one.turns) for one in found] == [2, 2]
    assert [one.mode for one in found] == [Mode.OFF, Mode.ON]
    assert len(says.batches) < 4
    made = row(found[0])
    assert set(made.documents) == {0, 1}
    assert "<tool_response>" in SPOKEN.tokens.decode(made.completion)


def test_an_episode_that_breaks_off_before_its_first_step_teaches_nothing(tmp_path):
    source, said = small_source(tmp_path), list[str]()
    task = Task("t", "mutation", "It is wrong", Provenance("shop", ""), fail_to_pass=("test_shop.py::test_cheapest",))
    says = Says(Letters(), "never asked")
    playing = Episodes(says, SPOKEN, Context(tmp_path / "cache"), Known(source), Rl(), LIMITS, 64, said.append)
    (found,) = playing([Seat(task)], 0)
    assert found.lost
    assert found.mode is None
    assert not says.batches
    assert said == [
        "nothing is learned of an episode of t: it came to no step, nothing was changed; its prompt may be too long"
    ]
    made = row(found)
    assert len(made.completion) == len(made.places) == 1
    assert made.own == (0,)


async def test_a_server_gets_the_adapter_of_each_update_and_must_say_what_the_trainer_says(tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny(len(TOKENIZER)), LoraConfig(r=8, target_modules="all-linear"))
    loras = Loras()
    async with ScriptedServer([], routes=loras.routes()) as http:
        loras.says = model
        server = Server(http.url, tmp_path / "sync")
        first = await asyncio.to_thread(server.sync, model, World())
        assert first.ok
        assert list(loras.loaded) == [server.served]
        with torch.no_grad():
            model.base_model.model.model.layers[0].mlp.up_proj.lora_B["default"].weight += 0.01
        before = server.served
        assert (await asyncio.to_thread(server.sync, model, World())).ok
        assert list(loras.loaded) == [server.served] != [before]
        loras.says = tiny(len(TOKENIZER), seed=1, spread=0.5)
        with pytest.raises(UserError, match=r"has the adapter kat-rl@.*does not agree"):
            await asyncio.to_thread(server.sync, model, World())
    with pytest.raises(UserError, match="does not follow the training"):
        await asyncio.to_thread(server.sync, model, World())


class Loras(AdapterServer):
    """A server that says what a model says."""

    says: Any = None

    def complete(self, body: dict[str, Any] | None) -> dict[str, Any]:
        assert body is not None
        assert body["model"] in self.loaded
        with torch.no_grad():
            likely = self.says(torch.tensor([body["prompt"]])).logits[0].log_softmax(-1)
        places = [{str(token): {"logprob": likely[at, token].item()}} for at, token in enumerate(body["prompt"][1:])]
        return {"choices": [{"text": "x", "prompt_logprobs": [None, *places]}]}


class Known:
    """One source, by any name."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def get(self, name: str) -> Any:
        return self._source
