"""The texts of a record, and the same record with other texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from model.format import ToolCall
from model.prompt import Message
from training.data.schema import Sample, Task

TaskOrSample = TypeVar("TaskOrSample", Task, Sample)
Change = Callable[[str], str]


def words_of(record: Task | Sample) -> Iterator[str]:
    """What is read by the one who is asked: of a task its words, of a sample its prompt."""
    if isinstance(record, Task):
        yield from (record.statement, record.context, record.answer, record.thought)
        return
    for message in record.messages:
        yield message.content
        yield from (text for call in message.calls for text in _of_call(call))


def fixed_of(record: Task | Sample) -> Iterator[str]:
    """What must stay as it is: the patches of a task, which have to apply, and the reply of a sample."""
    if isinstance(record, Task):
        yield from (record.start, record.solution, record.tests_patch)
        return
    yield from (record.judge, record.think, record.answer)
    yield from (text for call in record.calls for text in _of_call(call))


def reworded(record: TaskOrSample, change: Change) -> TaskOrSample:
    """The record with `change` made to each of its `words_of`."""
    if isinstance(record, Task):
        return replace(
            record,
            statement=change(record.statement),
            context=change(record.context),
            answer=change(record.answer),
            thought=change(record.thought),
        )
    return replace(record, messages=tuple(_message(message, change) for message in record.messages))


def measured(record: TaskOrSample, numbers: Mapping[str, float]) -> TaskOrSample:
    """The record with more numbers in its tags."""
    if not numbers:
        return record
    measures = dict(sorted({**record.tags.measures, **numbers}.items()))
    return replace(record, tags=replace(record.tags, measures=measures))


def _message(message: Message, change: Change) -> Message:
    calls = tuple(_call(call, change) for call in message.calls)
    return replace(message, content=change(message.content), calls=calls)


def _call(call: ToolCall, change: Change) -> ToolCall:
    arguments = {key: _mapped(value, change) for key, value in call.arguments.items()}
    return replace(call, arguments=arguments, raw=change(call.raw))


def _of_call(call: ToolCall) -> Iterator[str]:
    yield call.raw
    yield from _leaves(call.arguments)


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from _leaves(each)
        case list() | tuple():
            for each in value:
                yield from _leaves(each)


def _mapped(value: Any, change: Change) -> Any:
    match value:
        case str():
            return change(value)
        case dict():
            return {key: _mapped(each, change) for key, each in value.items()}
        case list() | tuple():
            return [_mapped(each, change) for each in value]
        case _:
            return value
