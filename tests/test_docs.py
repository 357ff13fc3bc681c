"""The documents agree with the tables that the program uses."""

from pathlib import Path

from oomrules.attributes import ATTRIBUTES

CHECKOUT = Path(__file__).resolve().parent.parent


def attribute_table() -> str:
    """Give the table that belongs into docs/language.md."""
    rows = [
        f"| `{a.name}` | {a.type.value} | {a.doc} | {a.source.value} |" for a in ATTRIBUTES.values()
    ]
    return "\n".join(["| attribute | type | what it is | from |", "|---|---|---|---|", *rows])


def test_the_language_page_lists_every_attribute() -> None:
    page = (CHECKOUT / "docs" / "language.md").read_text(encoding="utf-8")
    assert attribute_table() in page
