"""A line of a file that anybody may have written: an object, or one error that says what it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomrules.json_lines import NoObject, read_object

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_an_object_is_read_as_it_was_written(made: dict[str, Any]) -> None:
    assert read_object(json.dumps(made)) == made


@given(VALUES.filter(lambda value: not isinstance(value, dict)))
def test_another_value_is_refused(value: Any) -> None:
    with pytest.raises(NoObject):
        read_object(json.dumps(value))


@pytest.mark.parametrize("line", ["", "{", "x" * 9, "[" * 10**5, '{"a":' * 10**5, "1" * 10**5])
def test_text_that_is_no_json_is_refused(line: str) -> None:
    with pytest.raises(NoObject, match="no JSON"):
        read_object(line)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_know_is_refused(number: str) -> None:
    with pytest.raises(NoObject, match=f"{number} is no number"):
        read_object(f'{{"a":[{number}]}}')
