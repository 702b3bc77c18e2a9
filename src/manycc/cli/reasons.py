"""``manycc reasons``: the closed list of answers to "why did this job run there?"."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from manycc.cli.output import print_json, say
from manycc.reasons import Kind, Reason

_HEADINGS = {
    Kind.REMOTE: "done by a node",
    Kind.LOCAL: "run here, nothing went wrong",
    Kind.FAILED_OVER: "failed over: run here because something went wrong elsewhere",
}

_PAGE = """\
# Why did this job run there?

Every job ends in one record with exactly one of these reasons. `manycc stats` counts them, `manycc explain --
COMMAND` says beforehand which one a command would get, and `manycc reasons --json` is this list for programs.

This page is made by `manycc reasons --markdown > docs/reasons.md` from `src/manycc/reasons.py`.
"""

_NO_HINT = "nothing: this is as it should be"


def main(argv: Sequence[str]) -> int:
    """Print all reasons, by where their jobs end."""
    parser = argparse.ArgumentParser(
        prog="manycc reasons", description="All reasons a job can be recorded with, and what to do about them."
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
    form.add_argument("--markdown", action="store_true", help="print the page docs/reasons.md")
    options = parser.parse_args(argv)
    if options.json:
        print_json(
            [
                {"code": each.code, "kind": each.kind.value, "sentence": each.sentence, "hint": each.hint}
                for each in Reason
            ]
        )
    elif options.markdown:
        sys.stdout.write(page())
    else:
        _print_list()
    return 0


def page() -> str:
    """The list as a Markdown page."""
    lines = [_PAGE]
    for kind, heading in _HEADINGS.items():
        lines += [f"## {heading[0].upper()}{heading[1:]}", ""]
        lines += ["| reason | the job | what you can do |", "|---|---|---|"]
        lines += [f"| `{each.code}` | {each.sentence} | {each.hint or _NO_HINT} |" for each in _of(kind)]
        lines.append("")
    return "\n".join(lines)


def _print_list() -> None:
    width = max(len(reason.code) for reason in Reason)
    for kind, heading in _HEADINGS.items():
        say(f"{heading}:")
        for reason in _of(kind):
            say(f"  {reason.code:{width}}  {reason.sentence}")
            if reason.hint:
                say(f"  {'':{width}}    hint: {reason.hint}")
        say()


def _of(kind: Kind) -> Iterator[Reason]:
    return (reason for reason in Reason if reason.kind is kind)
