"""`kat serve` with a real vLLM on the CPU: proven by doctor, any OpenAI client, adapters, kills, and a clean stop.

The tests share one server and stand in an order: the last ones kill it, and stop it.
"""

import json
import re

import pytest

from benchmarks.prefix import measured
from model.catalog import CATALOG
from model.pull import pull
from model.serving.starting.weights import safetensors_of, weights_directory
from tests.adapters import make_adapter
from tests.e2e.kills import check_kills, check_stop, engine_of

pytestmark = [pytest.mark.vllm, pytest.mark.xdist_group("served")]
BEYOND_135M = {"think off", "think on", "tool round trip", "auto easy", "auto hard", "think budget", "judge budget"}
"""Probes of the doctor that need a model which has learnt KAT's format; nothing holds it to it there."""
HELD = (
    "the file is short\n</judge>\n\n<think_on>\n<think>\nfirst look, then speak\n</think>\n\n"
    '<answer>\nlooking\n</answer>\n<tool_call>\n{"name": "read_file", "arguments": {"path": "a.py"}}\n</tool_call>'
)
"""The one reply that the grammar leaves to the model, beginning inside the judge."""
TOOL = {
    "type": "function",
    "function": {
        "name": "read_file",
        "description": "Read a file.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    },
}


@pytest.fixture(scope="module")
def openai_client(served):
    """OpenAI's own client on the socket; it knows nothing of KAT."""
    httpx, openai = pytest.importorskip("httpx"), pytest.importorskip("openai")
    transport = httpx.HTTPTransport(uds=served.address.removeprefix("unix:"))
    with httpx.Client(transport=transport, timeout=120) as http:
        yield openai.OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http)


def asked(client, **more):
    """One chat with a tool, the model held to a reply in KAT's format."""
    return client.chat.completions.create(
        model="KAT-nano",
        messages=[{"role": "user", "content": "Read the file."}],
        tools=[TOOL],
        temperature=0,
        max_tokens=300,
        extra_body={"structured_outputs": {"regex": re.sub(r"([{}.])", r"\\\1", HELD)}},
        **more,
    )


def calls_of(calls):
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def test_doctor_finds_only_what_a_model_of_135m_cannot_do(served):
    outcome = served.kat("doctor", "--engine", served.address, "--json", timeout=200)
    found = {finding["name"]: finding for finding in outcome.events}
    wrong = {name for name, finding in found.items() if finding["ok"] is False}
    assert wrong <= BEYOND_135M, outcome.out
    for name in ("engine", "template", "cancel", "prefix cache", "context", "metrics", "1 stream", "8 streams"):
        assert found[name]["ok"] is True, found[name]
    assert all(found[name]["change"] for name in wrong), "what failed says what to change"


def test_an_openai_client_sees_reasoning_content_and_calls_streamed_or_not(openai_client):
    whole = asked(openai_client)
    message = whole.choices[0].message
    calls = calls_of(message.tool_calls)
    assert whole.choices[0].finish_reason == "tool_calls"
    assert message.reasoning.split("\n\n") == ["the file is short", "first look, then speak"]
    assert message.content.strip() == "looking"
    assert calls == [("read_file", {"path": "a.py"})]
    parts = {"reasoning": "", "content": "", "name": "", "arguments": ""}
    finish = None
    for chunk in asked(openai_client, stream=True):
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            parts["reasoning"] += getattr(choice.delta, "reasoning", None) or ""
            parts["content"] += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                parts["name"] += call.function.name or ""
                parts["arguments"] += call.function.arguments or ""
    assert finish == "tool_calls"
    assert (parts["reasoning"], parts["content"]) == (message.reasoning, message.content)
    assert [(parts["name"], json.loads(parts["arguments"]))] == calls


def test_a_teacher_is_asked_of_texts_by_tokens_and_by_stretches(served):
    pytest.importorskip("transformers")
    import httpx2
    from transformers import AutoTokenizer

    from training.teachers.across import AcrossTokenizers
    from training.teachers.server import ServerTeacher
    from training.teachers.store import probe

    weights = safetensors_of(pull(CATALOG["nano"]), weights_directory(), served.environ["KAT_VLLM_PYTHON"])
    student = AutoTokenizer.from_pretrained(weights)
    transport = httpx2.HTTPTransport(uds=served.address.removeprefix("unix:"))
    teacher = ServerTeacher("http://localhost/v1", 4, "h", transport)
    ids = student(probe(), add_special_tokens=False)["input_ids"]
    assert teacher.cuts_alike(ids)
    assert not teacher.cuts_alike(ids[:-1])
    (rows,), likely = teacher.said([ids]), teacher.likely(ids)
    assert rows.top.shape == (len(ids) - 1, 4)
    found = [
        (float(logp), one)
        for token, top, row, one in zip(ids[1:], rows.top.tolist(), rows.logp, likely, strict=True)
        for each, logp in zip(top, row, strict=True)
        if each == token
    ]
    assert found, "some of the text is what the model finds likely"
    assert [one for one, _ in found] == pytest.approx([one for _, one in found], abs=0.02)
    (stretches,) = AcrossTokenizers(teacher, student, teacher.about).said([ids])
    sizes = stretches.top[:, 0].tolist()
    assert sum(sizes) == len(ids) - 1, "with one tokenizer all of the text is stretches"
    assert stretches.logp.sum(dtype=float) == pytest.approx(sum(likely), rel=0.01)


def test_rollouts_follow_the_trainers_adapter_and_have_its_probabilities(served, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("peft")
    from training.models.loading import load
    from training.runtime.world import World
    from training.sampling import Ask, Limits
    from training.settings import Lora, ModelTable
    from training.syncing import Server, ServerSampler, TrainerScorer

    weights = safetensors_of(pull(CATALOG["nano"]), weights_directory(), served.environ["KAT_VLLM_PYTHON"])
    loaded = load(ModelTable(source=str(weights), dtype="float32", lora=Lora(rank=8, alpha=16)))
    server, names = Server(served.address, tmp_path / "sync"), []
    prompt = tuple(loaded.tokens.encode("<|im_start|>user\nName a sea.<|im_end|>\n", specials=True))
    for seed in (1, 2):
        torch.manual_seed(seed)
        for name, weight in loaded.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02)
        assert server.sync(loaded.model, World()).ok
        names.append(server.served)
        (drawn,) = ServerSampler(server, loaded.tokens.ends).draw([Ask(prompt)], Limits(8), seed)
        own = TrainerScorer(loaded.model).scored([*prompt, *drawn.ids])[len(prompt) - 1 :]
        assert [each.id for each in own] == list(drawn.ids)
        assert [each.logprob for each in own] == pytest.approx(drawn.logprobs, abs=0.05)
    assert len(set(names)) == 2
    assert served.kat("serve", "adapters", "unload", "kat-rl").code == 0


def completed(client, model):
    """What the model writes at temperature 0."""
    made = client.completions.create(model=model, prompt="The capital of France", temperature=0, max_tokens=12)
    return made.choices[0].text


def test_an_adapter_is_loaded_used_replaced_and_unloaded(served, openai_client, tmp_path):
    base = served.state.model
    texts, names = [completed(openai_client, base)], []
    for seed in (1, 2):
        folder = make_adapter(tmp_path / f"adapter{seed}", seed=seed, scale=0.1)
        loaded = served.kat("serve", "adapters", "load", f"spiced={folder}", "--json")
        assert loaded.code == 0, loaded.err + loaded.out
        (row,) = loaded.events
        assert row["ok"] is True
        names.append(row["served"])
        texts.append(completed(openai_client, row["served"]))
    assert len(set(texts)) == 3, "base and both versions write different text"
    assert names[0] != names[1]
    assert all(name.startswith("spiced@") for name in names)
    listed = served.kat("serve", "adapters", "list", "--json")
    assert [row["served"] for row in listed.events[0]] == [names[1]], "the old version is unloaded"
    assert served.kat("serve", "adapters", "unload", "spiced").code == 0
    assert served.kat("serve", "adapters", "list", "--json").events == [[]]
    assert completed(openai_client, base) == texts[0]


def test_a_session_with_switches_hits_nine_tenths_of_what_the_prefix_cache_can_give(served, tmp_path):
    weights = safetensors_of(pull(CATALOG["nano"]), weights_directory(), served.environ["KAT_VLLM_PYTHON"])
    found = measured(served.address, weights, tmp_path, turns=5)
    assert found.steps >= 25
    assert found.switches >= 4
    assert found.cuts >= 1
    assert found.possible > 0.8 * found.asked, "the session's prompts are append-only"
    assert found.rate >= 0.9


async def test_a_reply_goes_on_when_the_engine_is_killed_in_the_middle_of_it(served, tmp_path):
    await check_kills(served, tmp_path, [engine_of])


def test_status_names_the_server_and_stop_leaves_no_process(served):
    check_stop(served)
