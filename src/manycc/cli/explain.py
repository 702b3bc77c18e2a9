"""``manycc explain -- COMPILER …``: how a command would be handled, and why."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from manycc import config
from manycc.cli import client
from manycc.cli.output import print_json, say
from manycc.cli.request import build_request, command_of
from manycc.cli.status import wrong_objects
from manycc.monitor.units import amount, size, span


def main(argv: Sequence[str]) -> int:
    """Explain a command. 0 if a host could do it, 1 if it would run here."""
    parser = argparse.ArgumentParser(
        prog="manycc explain",
        usage="manycc explain [--json] [--] COMPILER ARGUMENT...",
        description="How a compiler command would be handled, and why: nothing is compiled. "
        "Exit code 0 if a host can do it, 1 if it would run here.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="such as: g++ -O2 -c a.cc")
    options = parser.parse_args(argv)
    answer = client.explain(config.load(), build_request(command_of(options.command, "explain")))
    if options.json:
        print_json(answer)
    else:
        _print(answer)
    usable = any(_usable(host) for host in answer.get("hosts") or [])
    return 0 if answer.get("distributable") and usable else 1


def _usable(host: Any) -> bool:
    if not isinstance(host, dict) or host.get("state") != "ready":
        return False
    return not str(host.get("sentence", "")).startswith(("cannot", "not yet"))


def _print(answer: client.Answer) -> None:
    hosts = [host for host in answer.get("hosts") or [] if isinstance(host, dict)]
    sentence, detail = answer.get("sentence", ""), answer.get("detail", "")
    if not answer.get("distributable"):
        say(f"would run here: {sentence}{f': {detail}' if detail else ''} [{answer.get('reason', '?')}]")
        if answer.get("hint"):
            say(f"  hint: {answer['hint']}")
        return
    if any(map(_usable, hosts)):
        say("can be sent")
    elif hosts:
        say("could be sent, but no host can take it now")
    else:
        say(f"could be sent, but there are no hosts{f': {detail}' if detail else ''}")
        say('  hint: set MANYCC_HOSTS="192.168.0.100/6 raspberrypi.local/4", or use manycc run')
    for key, label in (("source",) * 2, ("output",) * 2, ("language",) * 2, ("toolchain", "compiler")):
        if answer.get(key):
            say(f"  {label + ':':10} {answer[key]}")
    inputs = answer.get("inputs")
    if isinstance(inputs, dict):
        proof = "complete" if inputs.get("complete") else "not proven complete: a compile error would be repeated here"
        say(
            f"  inputs:    {amount(inputs.get('count', 0), 'file')}, {size(inputs.get('bytes', 0))}, "
            f"found by {inputs.get('how', '?')}, {proof}"
        )
        for path, length in inputs.get("largest") or []:
            say(f"             {size(length):>9}  {path}")
    expected = answer.get("expected")
    if isinstance(expected, dict) and expected.get("known", 0) > 0:
        memory = f" and {size(expected['rss'])} of memory" if expected.get("rss") else ""
        say(f"  expected:  {span(expected.get('seconds', 0.0))} on a usual host{memory}")
    if answer.get("trial"):
        say("  trial:     of a configure step: done here or on a host, wherever such were done sooner of late")
    for host in hosts:
        kind = f" ({host['kind']})" if host.get("kind") else ""
        say(f"  host {host.get('name', '?')}{kind}: {host.get('sentence', '') or host.get('state', '?')}")
        if wrong := wrong_objects(host):
            say(f"    it returned {wrong}")
