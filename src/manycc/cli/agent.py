"""``manycc agent start|stop|status|serve``: the life of this user's agent."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from manycc import config
from manycc.cli import client
from manycc.cli.output import say
from manycc.monitor.units import size, span


def main(argv: Sequence[str]) -> int:
    """Do what the one argument says."""
    parser = argparse.ArgumentParser(
        prog="manycc agent",
        description="The agent decides for each job where it runs. It starts with the first job and ends when idle; "
        "these verbs are for looking after it by hand.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="start|stop|status|serve")
    verbs.add_parser("start", help="start it, if it does not run yet")
    verbs.add_parser("stop", help="have it finish its jobs and end")
    verbs.add_parser("status", help="say whether it runs (exit code 1 if not)")
    verbs.add_parser("serve", help="be the agent, in this process; what the launcher starts")
    verb = parser.parse_args(argv).verb
    settings = config.load()
    if verb == "serve":
        from manycc.agent.server import serve

        return serve(settings)
    return {"start": _start, "stop": _stop, "status": _status}[verb](settings)


def _start(settings: config.Config) -> int:
    sock, pid = client.start(settings)
    sock.close()
    say(f"the agent runs (pid {pid})")
    return 0


def _stop(settings: config.Config) -> int:
    pid = client.stop(settings)
    say("no agent was running" if pid is None else f"the agent was stopped (pid {pid})")
    return 0


def _status(settings: config.Config) -> int:
    answer = client.ask(settings, {"op": "status"})
    if answer is None:
        say("no agent is running; it starts with the first job", sys.stderr)
        return 1
    say(describe(answer))
    return 0


def describe(answer: client.Answer) -> str:
    """One line about the agent, from its answer to "status"."""
    agent = answer.get("agent")
    if not isinstance(agent, dict):
        return "the agent runs"
    text = f"agent {agent.get('version', '?')}, pid {agent.get('pid', '?')}"
    if isinstance(uptime := agent.get("uptime_s"), int | float):
        text += f", up {span(uptime)}"
    if isinstance(memory := agent.get("rss"), int | float):
        text += f", {size(memory)} of memory"
    return text
