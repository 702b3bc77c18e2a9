"""``manycc reasons``: the closed list of answers to "why did this job run there?"."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from manycc.cli.output import print_json, say
from manycc.reasons import Kind, Reason

_HEADINGS = {
    Kind.REMOTE: "done by a node",
    Kind.LOCAL: "run here, nothing went wrong",
    Kind.FAILED_OVER: "failed over: run here because something went wrong elsewhere",
}


def main(argv: Sequence[str]) -> int:
    """Print all reasons, by where their jobs end."""
    parser = argparse.ArgumentParser(
        prog="manycc reasons", description="All reasons a job can be recorded with, and what to do about them."
    )
    parser.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
    options = parser.parse_args(argv)
    if options.json:
        print_json(
            [
                {"code": each.code, "kind": each.kind.value, "sentence": each.sentence, "hint": each.hint}
                for each in Reason
            ]
        )
        return 0
    width = max(len(reason.code) for reason in Reason)
    for kind, heading in _HEADINGS.items():
        say(f"{heading}:")
        for reason in Reason:
            if reason.kind is kind:
                say(f"  {reason.code:{width}}  {reason.sentence}")
                if reason.hint:
                    say(f"  {'':{width}}    hint: {reason.hint}")
        say()
    return 0
