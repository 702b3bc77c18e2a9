"""``pump``: a build with distcc's pump mode on, in which the servers preprocess.

manycc's agent finds the files of a job itself: no include server is to be started or stopped. What remains is to
lead ``distcc`` to manycc, and to look for hosts where the user leaves that to ``lsdistcc``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from manycc import config
from manycc.cli.output import say
from manycc.compat.programs import link_programs
from manycc.errors import ConfigError

EXIT_ARGUMENTS: Final = 1
EXIT_NOT_FOUND: Final = 127
LOOK_S: Final = 60.0
_USAGE: Final = """\
usage: pump COMMAND ARGUMENT...   run a build
       pump --startup             print what a shell is to evaluate before: eval "$(pump --startup)"
       pump --shutdown            nothing is left to stop, so this only succeeds
"""


def main(words: Sequence[str]) -> int:
    """Does not return if there is a command to run."""
    if not words or words[0] in ("--help", "-h"):
        print(_USAGE, end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else EXIT_ARGUMENTS
    if words[0] == "--shutdown":
        return 0
    changed = changes(os.environ)
    if words[0] == "--startup":
        sys.stdout.flush()
        for name, value in changed.items():
            sys.stdout.buffer.write(os.fsencode(f"export {name}={shlex.quote(value)};\n"))
        return 0
    if words[0].startswith("-"):
        say(f"pump: {words[0]!r} is no option", sys.stderr)
        print(_USAGE, end="", file=sys.stderr)
        return EXIT_ARGUMENTS
    env = {**os.environ, **changed}
    program = shutil.which(words[0], path=env["PATH"])
    if program is not None:
        os.execve(program, list(words), env)  # noqa: S606
    say(f"pump: {words[0]}: not found, or no program", sys.stderr)
    return EXIT_NOT_FOUND


def changes(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that a build is to see changed. Raises ManyccError."""
    folder = config.load(env).compat_dir
    link_programs(folder)
    others = [place for place in env.get("PATH", os.defpath).split(":") if place != folder]
    changed = {"PATH": ":".join([folder, *others])}
    candidates = env.get("DISTCC_POTENTIAL_HOSTS")
    if candidates is not None and "DISTCC_HOSTS" not in env:
        found = _serving(os.path.join(folder, "lsdistcc"), env.get("LSDISTCC_ARGS", ""), candidates)
        if not found:
            say("pump: no machine of DISTCC_POTENTIAL_HOSTS serves compiles: all is compiled here", sys.stderr)
        changed["DISTCC_HOSTS"] = " ".join(found)
    return changed


def _serving(lsdistcc: str, options: str, candidates: str) -> list[str]:
    """The hosts that serve compiles. Raises ManyccError."""
    try:
        # The names may also be a pattern, and the options are words of a shell: that is distcc's custom.
        ask = [lsdistcc, *shlex.split(options), *candidates.split()]
    except ValueError as error:
        raise ConfigError(f"LSDISTCC_ARGS={options}", str(error), "write it as for a shell, quotes in pairs") from error
    try:
        found = subprocess.run(ask, stdout=subprocess.PIPE, timeout=LOOK_S, check=False).stdout
    except subprocess.TimeoutExpired as error:
        found = error.output or b""
    return os.fsdecode(found).split()
