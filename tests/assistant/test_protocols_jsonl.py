"""The lines of `kat ask --json` and their schema."""

import io
import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from assistant.events import CallStarted, Event, Restored
from assistant.protocols.jsonl import lines_to, schema
from assistant.records import CallOutcome

DATA = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=3)
PAGE = Path(__file__).parents[2] / "docs/events.schema.json"
VALIDATOR = Draft202012Validator(schema())


def test_the_schema_in_the_documentation_is_current():
    update = "python -m assistant.protocols.jsonl > docs/events.schema.json"
    assert json.loads(PAGE.read_text("utf-8")) == schema(), f"make it anew: {update}"


def test_the_schema_is_one():
    Draft202012Validator.check_schema(schema())


st.register_type_strategy(CallOutcome, st.builds(CallOutcome, arguments=DATA))
st.register_type_strategy(CallStarted, st.builds(CallStarted, arguments=DATA))


@given(st.one_of(*(st.from_type(event) for event in get_args(Event))))
def test_every_event_is_written_as_the_schema_says(event):
    out = io.StringIO()
    lines_to(out)(event)
    assert out.getvalue().count("\n") == 1
    VALIDATOR.validate(json.loads(out.getvalue()))


@pytest.mark.parametrize("broken", [{"kind": "unheard_of"}, {"step": "one"}, {"action": None}, {"files": "a.py"}])
def test_the_schema_refuses_what_is_not_an_event(broken):
    line = {"kind": Restored.kind, "action": "undo", "step": 1, "files": ["a.py"]}
    VALIDATOR.validate(line)
    with pytest.raises(ValidationError):
        VALIDATOR.validate(line | broken)
