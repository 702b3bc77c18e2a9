"""The dispatch: verbs, help, errors as sentences, exit codes, and a quick start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import Cli

from manycc import __version__
from manycc.cli.main import VERBS, help_text


def test_version(cli: Cli) -> None:
    done = cli("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"manycc {__version__}\n", "")


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(cli: Cli, argv: list[str]) -> None:
    done = cli(*argv)
    assert done.returncode == 0
    assert done.stdout == help_text()
    for verb in VERBS:
        assert re.search(rf"^  {verb} +\S", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_in_both_spellings(cli: Cli, verb: str) -> None:
    done = cli(verb, "--help")
    assert done.returncode == 0
    assert f"manycc {verb}" in done.stdout
    assert cli("help", verb).stdout == done.stdout


def test_the_version_is_said_without_loading_what_it_does_not_need(home: Path) -> None:
    code = (
        "import sys, manycc.cli.main as m; m.main(['--version']);"
        "print(*(n for n in ('argparse', 'rich', 'msgpack', 'asyncio', 'socket', 'subprocess', 'json',"
        " 'dataclasses', 'tomllib', 'typing', 're') if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"manycc {__version__}\n\n", "")


def test_the_verbs_load_no_wire_format_of_nodes(home: Path) -> None:
    code = (
        "import sys\n"
        "for v in 'run explain status hosts stats reasons verify agent doctor masquerade'.split():\n"
        "    __import__('manycc.cli.' + v)\n"
        "print(*(n for n in ('rich', 'msgpack', 'zstandard', 'asyncio', 'psutil') if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["compile"], ["there is no verb 'compile'", "hint: see manycc --help"]),
        (["status", "--jsn"], ["usage: manycc status", "unrecognized arguments: --jsn"]),
        (["agent"], ["usage: manycc agent", "required"]),
        (["agent", "restart"], ["invalid choice: 'restart'"]),
        (["run"], ["no command to run", "hint: manycc run -- make"]),
        (["run", "-j", "0", "--", "make"], ["'0' is no number from 1 to 99999"]),
        (["explain"], ["no command to explain"]),
        (["explain", "--", "no-such-compiler", "-c", "a.c"], ["no-such-compiler: not found"]),
        (["stats", "--since", "soon"], ["'soon' is no time", "2h"]),
        (["stats", "--last"], ["no run is recorded"]),
        (["hosts", "pi:http"], ["a flag: host list, column 1: 'pi:http'", "the port must be", "hint: a host is"]),
    ],
)
def test_a_users_mistake_is_a_sentence_and_exit_code_2(cli: Cli, argv: list[str], words: list[str]) -> None:
    done = cli(*argv)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_broken_setting_is_named(cli: Cli, home: Path) -> None:
    (home / "config.toml").write_text("idle_s = 'never'\n")
    done = cli("status")
    assert done.returncode == 2
    assert done.stderr == f"manycc: {home}/config.toml: idle_s = \"'never'\": expected seconds, 1 to 31536000\n"


def test_what_the_system_refuses_is_a_sentence(cli: Cli, home: Path) -> None:
    (home / "state").mkdir()
    (home / "state" / "jobs.jsonl").mkdir()
    done = cli("stats")
    assert done.returncode == 1
    assert done.stderr == f"manycc: {home}/state/jobs.jsonl: Is a directory\n"


def test_no_encoding_keeps_anything_from_being_said(cli: Cli) -> None:
    env = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = cli("explain", "--", "g\udcff\u00fc++\x1b[2J", env=env)
    assert done.returncode == 2
    assert done.stderr.isascii()
    assert "\x1b" not in done.stderr
    assert "not found" in done.stderr


def test_a_reader_that_goes_away_is_no_error(home: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "manycc.cli", "reasons"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert process.stderr == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_reasons_lists_all(cli: Cli) -> None:
    from manycc.reasons import Reason

    done = cli("reasons")
    for reason in Reason:
        assert f"  {reason.code} " in done.stdout
        assert reason.sentence in done.stdout
        assert reason.hint in done.stdout


def test_the_page_of_reasons_is_the_list(cli: Cli) -> None:
    page = Path(__file__).parents[3] / "docs" / "reasons.md"
    assert page.read_text() == cli("reasons", "--markdown").stdout, "make it anew: manycc reasons --markdown"


def test_every_reason_is_given_somewhere() -> None:
    from manycc.reasons import Reason

    root = Path(__file__).parents[3]
    sources = [path.read_text() for path in (root / "src").rglob("*.py") if path.name != "reasons.py"]
    sources.append((root / "launcher" / "manycc.c").read_text())
    text = "".join(sources)
    for reason in Reason:
        assert f"Reason.{reason.name}" in text or f'"{reason.code}"' in text, reason
