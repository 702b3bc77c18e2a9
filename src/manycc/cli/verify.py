"""``manycc verify``: is what a node compiles what the compiler here writes?"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Final

from manycc import config
from manycc.cli import client
from manycc.cli.localrun import LocalRun, run_here
from manycc.cli.output import print_json, say
from manycc.cli.quarantine import forgive, recorded, show_suspects, warn
from manycc.cli.request import build_request, command_of
from manycc.config import Config
from manycc.errors import ManyccError
from manycc.monitor import records
from manycc.monitor.units import amount
from manycc.monitor.verifications import tally
from manycc.verify.compare import Judgement, Observed, differing, judge, proves_nothing
from manycc.wire.launcher import Request

VERIFY_S: Final = 3600.0

EQUAL: Final = 0
DIFFERENT: Final = 1
NOT_REMOTE: Final = 2


def main(argv: Sequence[str]) -> int:
    """Verify one command, or see to what was verified."""
    parser = argparse.ArgumentParser(
        prog="manycc verify",
        usage="manycc verify [--json] [--host HOST] [--] COMPILER ARGUMENT...\n"
        "       manycc verify [--waiting | --forgive HOST | --suspects HOST] [--json]",
        description="Compile something on a host and here, compare all that was written and said, and show what "
        "differs. What the compiler here wrote stays. Exit code 0 if it is the same, 1 if it differs or cannot be "
        "proven to be the same, 2 if no host could do it. "
        "Without a command: what became of the samples that the setting verify takes.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
    parser.add_argument("--host", metavar="HOST", default="", help="have this host do it, even if it is quarantined")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--waiting", action="store_true", help="verify the samples that wait now, idle or not")
    which.add_argument("--forgive", metavar="HOST", help="lift the quarantine of a host")
    which.add_argument("--suspects", metavar="HOST", help="list outputs of a quarantined host that may be wrong too")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="such as: g++ -O2 -c a.cc -o a.o")
    options = parser.parse_args(argv)
    settings = config.load()
    if options.command:
        return _verify_command(settings, build_request(command_of(options.command, "verify")), options)
    if options.forgive is not None:
        return forgive(settings, options.forgive, options.json)
    if options.suspects is not None:
        return show_suspects(settings, options.suspects, options.json)
    return _show_state(settings, options.waiting, options.json)


# -- one command


def _verify_command(settings: Config, request: Request, options: argparse.Namespace) -> int:
    found: dict[str, Any]
    with tempfile.TemporaryDirectory(prefix="manycc-verify-") as folder:
        answer = _ask(settings, request, folder, options.host)
        here = run_here(request, answer.get("folders", []), answer.get("env", {}))
        if not answer.get("done"):
            _speak(here.seen)
            found = {key: answer.get(key, "") for key in ("reason", "sentence", "detail", "hint")}
            found = {"verdict": "not-remote", **found}
        else:
            found = _compare(settings, request, answer, here, folder)
    if options.json:
        print_json(found)
    else:
        _print(found)
    return {"equal": EQUAL, "not-remote": NOT_REMOTE}.get(found["verdict"], DIFFERENT)


def _ask(settings: Config, request: Request, folder: str, host: str) -> client.Answer:
    """Have a host do it; the agent writes what came into ``folder``."""
    client.start(settings)[0].close()
    asked = {
        "op": "remote", "compiler": request.compiler, "cwd": request.cwd, "argv": request.argv, "env": request.env,
        "umask": request.umask, "folder": folder, "host": host,
    }  # fmt: skip
    answer = client.ask(settings, asked, settings.job_timeout_s)
    if answer is None:
        raise ManyccError("the agent went away", "", f"see {settings.agent_log_path}")
    return answer


def _compare(settings: Config, request: Request, answer: client.Answer, run: LocalRun, folder: str) -> dict[str, Any]:
    from manycc.verify.explain import explained  # with msgpack, which most uses of this verb do not need

    here, there = run.seen, _received(answer, folder, run)
    judged = Judgement([], [], [])
    if differing(here, there):
        # A compiler that does not write the same twice proves nothing against anybody.
        judged = judge(here, run_here(request, answer["folders"], answer["env"]).seen, there)
    differences = explained(here, there, judged.different)
    void = proves_nothing(judged, answer["outputs"], there)
    quarantine: list[dict[str, Any]] = []
    if differences:
        confirmed = client.ask(settings, {"op": "confirm", "job": answer["job"]}, VERIFY_S) or {}
        quarantine = [entry for entry in confirmed.get("quarantine", []) if entry.get("host") == answer["host"]]
    return {
        "verdict": "different" if differences else "void" if void else "equal",
        "host": answer["host"],
        "reason": answer["reason"],
        "sentence": answer["sentence"],
        "compared": ["exit code", "stdout", "stderr", *sorted(here.files.keys() | there.files.keys())],
        "exit": here.exit_code,
        "differences": [{"what": one.what, "lines": one.lines} for one in differences],
        "varies": judged.varies,
        "quarantine": quarantine,
    }


def _received(answer: client.Answer, folder: str, run: LocalRun) -> Observed:
    """What the host wrote and said, as the agent left it in the folder."""

    def read(name: str) -> bytes:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()

    files: dict[str, tuple[int, bytes]] = {}
    for number, (path, mode) in enumerate(answer["files"]):
        if path in run.rewritten:  # the compiler here changed its content only
            mode = run.seen.files[path][0]
        files[path] = (mode, read(str(number)))
    return Observed(answer["exit"], read("stdout"), read("stderr"), files)


def _speak(here: Observed) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(1, here.stdout)
    os.write(2, here.stderr)


def _print(found: dict[str, Any]) -> None:
    if found["verdict"] == "not-remote":
        detail = f": {found['detail']}" if found["detail"] else ""
        say(f"no host did it: {found['sentence']}{detail} [{found['reason']}]")
        if found["hint"]:
            say(f"  hint: {found['hint']}")
        return
    say(f"{found['host']}: {found['sentence']} (exit code {found['exit']})")
    different = {difference["what"] for difference in found["differences"]}
    for what in found["compared"]:
        state = "differs" if what in different else "varies" if what in found["varies"] else "same"
        say(f"  {state:7}  {what}")
    if found["varies"]:
        say("  (what varies is different each time that the compiler here writes it)")
    if found["verdict"] == "void":
        say("nothing is proven: a time or random names are in it; with gcc, try -frandom-seed=NAME")
    for difference in found["differences"]:
        say(f"{difference['what']}:")
        for line in difference["lines"]:
            say(f"  {line}")
    if different:
        warn(found["quarantine"])
        if not found["quarantine"]:
            say("the agent could not confirm it (see its log): the host is not quarantined")


# -- what was sampled


def _show_state(settings: Config, now: bool, as_json: bool) -> int:
    """Counts, what waits, and who is quarantined. 1 if there is a quarantine."""
    if now:
        client.start(settings)[0].close()
    answer = client.ask(settings, {"op": "verify" if now else "status"}, VERIFY_S)
    state = (answer or {}).get("verify") or {"rate": settings.verify, "waiting": 0}
    quarantine = recorded(settings)
    counts = tally(records.read(settings.verifications_path))
    if as_json:
        print_json({"verify": state, "quarantine": quarantine, "counts": counts})
        return 1 if quarantine else 0
    say(f"verify = {state['rate']}; {amount(state['waiting'], 'sample')} waiting for idle time")
    say(
        f"{counts['verified']} verified: {counts['equal']} equal, {counts['different']} different;"
        f" {counts['void']} void, {counts['skipped']} skipped"
    )
    warn(quarantine)
    return 1 if quarantine else 0
