"""Tables in documents, between two marks that stay there."""

from __future__ import annotations

import os
from collections.abc import Sequence


class MarksMissing(Exception):
    """A document lacks the lines that a table belongs between."""


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Headings and rows, for a document."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in ruled)


def write_between(document: str, begin: str, end: str, body: str) -> None:
    """Put a text between two lines of a document. Raises MarksMissing."""
    with open(document, encoding="utf-8") as file:
        whole = file.read()
    before, found, rest = whole.partition(f"{begin}\n")
    _, ended, after = rest.partition(f"{end}\n")
    if not found or not ended:
        raise MarksMissing(f"{document} has no lines {begin} and {end} to put the table between")
    with open(f"{document}.new", "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{body}{end}\n{after}")
    os.replace(f"{document}.new", document)
