"""The plugin, driven by vLLM's own chat serving; only the engine behind it is missing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.format import CallReady, ReplyParser, Segment, TextDelta
from model.serving.plugin import register
from tests.model.test_format import CALL, FENCE, THINKING, replies

# vLLM is imported where it is used, since every worker reads this file and only one runs it.
pytestmark = [
    pytest.mark.xdist_group("heavy"),
    pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM here, whose side of the plugin this is"),
]

PROMPT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<judge>\n"
TOOLS = [{"type": "function", "function": {"name": "edit_file", "parameters": {"type": "object", "properties": {}}}}]
OFF = "Easy.\n</judge>\n\n<think_off>\n<answer>\n"
BROKEN = f'{OFF}Look.\n</answer>\n<tool_call>\n{{"name": "a"\n</tool_call>\nMore.'
WRITTEN = [
    THINKING,
    BROKEN,
    FENCE,
    f"{OFF}A.<tool_call>{CALL}</tool_call>\n<tool_call>\n{CALL}\n</tool_call>\n</answer>",
    f"{OFF}<tool_call>{CALL}",
    f"{OFF}a <\u2060think> b\n</answer><|im_end|>",
    "w\n<think_off>\na `</answer>` b\n</answer>",
    "no more than a judge <jud",
    "w\n</judge>\n\n<think_on>\n<think>\ncut in the thought </thi",
    "w\n</judge>\n\n<think_off>\n<think>\nt\n</think>\na",
    "w\n</judge>\n\n<answer",
]


class Letters:
    """A tokenizer whose tokens are characters."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return "".join(map(chr, ids))


@dataclass
class Message:
    """What a client gets: the fields put together, and the calls as name and arguments."""

    reasoning: str = ""
    content: str = ""
    calls: list[tuple[str, object]] = field(default_factory=list)


def serving(reasoning_parser="kat", tool_parser="kat"):
    """vLLM's chat serving with the parsers of these names."""
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat

    register()
    config = SimpleNamespace(
        model="kat", hf_config=SimpleNamespace(model_type="qwen2"), hf_overrides={}, generation_config="auto",
        get_diff_sampling_param=dict, hf_text_config=SimpleNamespace(model_type="qwen2"),
    )  # fmt: skip
    client = SimpleNamespace(model_config=config, renderer=SimpleNamespace(tokenizer=Letters()), input_processor=None)
    return OpenAIServingChat(
        client, SimpleNamespace(), "assistant", online_renderer=None, request_logger=None, chat_template=None,
        chat_template_content_format="auto", reasoning_parser=reasoning_parser, tool_parser=tool_parser,
        enable_auto_tools=bool(tool_parser),
    )  # fmt: skip


def asked(**options):
    """A client's request."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

    options = {"tools": TOOLS, **options}
    return ChatCompletionRequest(model="kat", messages=[{"role": "user", "content": "Hi"}], **options)


async def outputs(chunks: Iterable[str], prompt: str) -> AsyncIterator[object]:
    """What the engine would send: pieces of text, the last of them with the reason to stop."""
    from vllm.outputs import CompletionOutput, RequestOutput

    pieces = list(chunks) or [""]
    for index, text in enumerate(pieces):
        reason = "stop" if index == len(pieces) - 1 else None
        one = CompletionOutput(0, text, list(map(ord, text)), None, None, finish_reason=reason)
        yield RequestOutput("r", prompt, list(map(ord, prompt)), None, [one], finished=bool(reason))


def metadata():
    from vllm.entrypoints.generate.base.protocol import RequestResponseMetadata

    return RequestResponseMetadata(request_id="r")


async def chunks_of(chat, request, chunks, prompt) -> list[dict]:
    lines = chat.chat_completion_stream_generator(
        request, outputs(chunks, prompt), "r", "kat", [], Letters(), metadata(), chat_template_kwargs={}
    )
    found = [json.loads(line.removeprefix("data: ")) async for line in lines if not line.startswith("data: [DONE]")]
    assert not [one for one in found if "error" in one]
    return found


def streamed(runner, chat, request, chunks, prompt=PROMPT) -> Message:
    message = Message()
    ids = set()
    for event in runner.run(chunks_of(chat, request, chunks, prompt)):
        for choice in event["choices"]:
            delta = choice["delta"]
            message.reasoning += delta.get("reasoning") or ""
            message.content += delta.get("content") or ""
            for call in delta.get("tool_calls", ()):
                assert call["index"] == len(message.calls)
                message.calls.append((call["function"]["name"], json.loads(call["function"]["arguments"])))
                ids.add(call["id"])
    assert len(ids) == len(message.calls)
    return message


def whole(runner, chat, request, text, prompt=PROMPT) -> Message:
    """The same without a stream."""
    parser = chat._make_parser(request, Letters(), {})
    request.resolve_reasoning_ended(parser, list(map(ord, prompt)))
    answer = runner.run(
        chat.chat_completion_full_generator(
            request, outputs([text], prompt), "r", "kat", [], Letters(), metadata(), parser=parser
        )
    )
    found = answer.choices[0].message
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in found.tool_calls]
    assert len({call.id for call in found.tool_calls}) == len(calls)
    return Message(found.reasoning or "", found.content or "", calls)


def expected(text: str, *, plain: bool = False) -> Message:
    """What `format.py` makes of the whole text, put into the fields by hand."""
    parser = ReplyParser()
    deltas = [*parser.feed(text), *parser.close()]
    reply = parser.reply
    message = Message("\n\n".join(filter(None, (reply.judge, reply.think))))
    behind_call = False
    for delta in deltas:
        if isinstance(delta, CallReady) and (plain or delta.call.error):
            message.content += ("\n" if message.content else "") + f"<tool_call>\n{delta.call.raw}\n</tool_call>"
            behind_call = True
        elif isinstance(delta, CallReady):
            message.calls.append((delta.call.name, delta.call.arguments))
        elif isinstance(delta, TextDelta) and delta.segment is Segment.ANSWER:
            message.content += ("\n" if behind_call and delta.text[0] != "\n" else "") + delta.text
            behind_call = False
    return message


def cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.fixture(scope="module")
def chat():
    return serving()


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as one:
        yield one


def test_what_the_parser_knows_of_the_written_replies_reaches_the_client(runner, chat):
    message = streamed(runner, chat, asked(), cut(THINKING, 7))
    assert message == Message(
        "Needs care.\n\nfirst\n\nsecond", "Done.", [("edit_file", {"path": "a.py", "new": 'x = "</tool_call>"'})]
    )
    broken = streamed(runner, chat, asked(), cut(BROKEN, 7))
    assert broken == Message("Easy.", 'Look.\n<tool_call>\n{"name": "a"\n</tool_call>\n\nMore.', [])


@pytest.mark.parametrize("text", WRITTEN)
def test_any_size_of_chunks_is_read_like_the_whole(runner, chat, text):
    """Each written reply in chunks of 1 to 50 characters, with tools, without, and not streamed."""
    for size in range(1, 51):
        assert streamed(runner, chat, asked(), cut(text, size)) == expected(text)
    assert whole(runner, chat, asked(), text) == expected(text)
    without = asked(tools=None)
    assert streamed(runner, chat, without, cut(text, 5)) == expected(text, plain=True)
    assert whole(runner, chat, without, text) == expected(text, plain=True)


@settings(max_examples=500, deadline=None)
@given(text=replies, size=st.integers(1, 50))
def test_the_corpus_of_the_format_is_read_like_the_whole(runner, chat, text, size):
    """500 replies of the contract's corpus, each in two of the 50 sizes and not streamed."""
    message = expected(text)
    assert streamed(runner, chat, asked(), cut(text, size)) == message
    assert streamed(runner, chat, asked(), cut(text, 51 - size)) == message
    assert whole(runner, chat, asked(), text) == message


def test_a_client_that_wants_no_calls_or_no_reasoning_gets_none(runner, chat):
    for request in (asked(tool_choice="none"), asked(tools=None)):
        assert streamed(runner, chat, request, cut(THINKING, 3)) == expected(THINKING, plain=True)
        assert whole(runner, chat, request, THINKING) == expected(THINKING, plain=True)
    hidden = asked(include_reasoning=False)
    for message in (streamed(runner, chat, hidden, cut(THINKING, 3)), whole(runner, chat, hidden, THINKING)):
        assert message == Message("", "Done.", expected(THINKING).calls)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "edit_file"}}])
def test_a_call_that_is_asked_for_is_held_to_the_form_of_ours_behind_the_reasoning(runner, chat, choice):
    request = chat.parser_cls(Letters(), asked().tools).adjust_request(asked(tool_choice=choice))
    assert '"<tool_call>' in request.structured_outputs.structural_tag
    assert "edit_file" in request.structured_outputs.structural_tag
    assert streamed(runner, chat, asked(tool_choice=choice), cut(THINKING, 4)) == expected(THINKING)
    assert whole(runner, chat, asked(tool_choice=choice), THINKING) == expected(THINKING)


def test_tags_come_as_text_and_a_free_choice_is_not_held(chat):
    for request in (asked(), asked(tools=None)):
        adjusted = chat.parser_cls(Letters(), request.tools).adjust_request(request)
        assert adjusted.skip_special_tokens is False
        assert adjusted.structured_outputs is None


@pytest.mark.parametrize("size", [1, 7, 50])
@pytest.mark.parametrize(
    ("begun", "rest", "message"),
    [
        ("<judge>\nEa", f"sy.\n</judge>\n<think_off>\n{CALL}", Message("sy.", CALL)),
        ("<judge>\nx\n</judge>\n\n<think_on>\n<think>\nWhy", " not.\n</think>\n\n<answer>\nA", Message(" not.", "A")),
        ("<judge>\nx\n</judge>\n\n<think_off>\n<answer>\n", "A\n</answer>", Message("", "A")),
        ("<judge>\nx\n</judge>\n\n<think_off>\n<answer>\nHel", "lo\n</answer><|im_end|>", Message("", "lo")),
    ],
)
def test_a_reply_that_the_prompt_begins_goes_on_where_it_stands(runner, chat, begun, rest, message, size):
    prompt = PROMPT.removesuffix("<judge>\n") + begun
    for server in (chat, serving(tool_parser=None)):
        assert streamed(runner, server, asked(), cut(rest, size), prompt) == message
        assert whole(runner, server, asked(), rest, prompt) == message


@pytest.mark.parametrize("text", WRITTEN)
def test_each_parser_works_without_the_other(runner, text):
    alone = serving(tool_parser=None)
    assert streamed(runner, alone, asked(), cut(text, 6)) == expected(text, plain=True)
    assert whole(runner, alone, asked(), text) == expected(text, plain=True)
    tools = serving(reasoning_parser="")
    assert streamed(runner, tools, asked(), cut(text, 6)) == expected(text)
    read = whole(runner, tools, asked(), text)
    assert (read.content or None, read.calls) == (expected(text).content or None, expected(text).calls)


def test_the_engine_learns_from_the_tokens_where_the_reasoning_ends():
    """It holds an answer to a schema from there on: behind the tag, before the first word."""
    from vllm.reasoning import ReasoningParserManager

    register()
    kind = ReasoningParserManager.get_reasoning_parser("kat")
    parser = kind(tokenizer=Letters(), chat_template_kwargs={})
    ids = list(map(ord, PROMPT + THINKING))
    end = len(PROMPT) + THINKING.index("<answer>") + len("<answer>")
    steps = range(len(PROMPT), len(ids))
    found = [parser.is_reasoning_end_streaming(ids[:step], ids[step - 2 : step]) for step in steps]
    assert found.index(True) + len(PROMPT) == end
    assert parser.is_reasoning_end(ids[:end])
    assert not parser.is_reasoning_end(ids[: end - 1])
    assert not parser.is_reasoning_end(list(map(ord, PROMPT.replace("Hi", "<answer>\nHi"))))
    assert kind(tokenizer=Letters()).is_reasoning_end(ids[: len(PROMPT)]), "a prompt of /v1/completions"
    reply = list(map(ord, THINKING))
    assert parser.extract_content_ids(reply) == reply[end - len(PROMPT) :]


@pytest.mark.parametrize(
    ("held", "whole_reply"),
    [
        ({"grammar": 'root ::= "x\\n</judge>"'}, True),
        ({"regex": "x\n</judge>"}, True),
        ({"grammar": 'root ::= "x"'}, False),
        ({"json": {"type": "object"}}, False),
    ],
)
def test_a_grammar_of_whole_replies_holds_from_the_first_token(chat, held, whole_reply):
    parser = chat.parser_cls(Letters(), None, model_config=chat.model_config)
    request = parser.adjust_request(asked(tools=None, structured_outputs=held))
    assert request.resolve_reasoning_ended(parser, list(map(ord, PROMPT))) is whole_reply


def test_reasoning_tokens_are_counted(runner, chat):
    request = asked(stream_options={"include_usage": True}, stream=True)
    last = runner.run(chunks_of(chat, request, cut(THINKING, 9), PROMPT))[-1]
    counted = last["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert counted == THINKING.index("<answer>") + len("<answer>")
