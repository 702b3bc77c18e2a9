"""``manycc VERB …``: finds the verb, imports only that, and turns errors into sentences.

Exit codes: what the verb says; 2 for a command line or a setting that cannot be used; 1 for any other
error that is told; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys

from manycc import __version__

# Nothing but sys is imported up here: --version and --help take as long as Python's own start.
VERBS = {
    "run": "run a whole build with its compiles spread over the hosts",
    "explain": "how one compiler command would be handled, and why",
    "status": "what the agent and its hosts are doing now",
    "hosts": "connect to the hosts and show which can be used",
    "stats": "what became of past jobs, with reasons",
    "reasons": "all reasons a job can be recorded with",
    "verify": "compile on a host and here, and compare all; what samples proved; quarantined hosts",
    "agent": "start, stop or look at this user's agent",
    "doctor": "check this machine's set-up, and say what to do",
    "masquerade": "print a folder of compiler names to put in front of PATH",
    "compat": "distcc's programs by their own names: print their folder, or install them",
    "node": "serve compiles for other machines",
    "engine": "set up a remote execution engine, or find out what one can do",
    "toolchain": "the compilers here; get, add and try others",
}

# distcc's programs: links to manycc-cli, or what the launcher says it was called as; each is a module of manycc.compat.
PROGRAMS = {
    "distcc": "distcc",
    "distccd": "distccd",
    "lsdistcc": "lsdistcc",
    "distccmon-text": "distccmon",
    "pump": "pump",
}

_EXAMPLES = """\
usage: manycc COMPILER ARGUMENT...       compile one file, on a host if that is possible
       manycc VERB [OPTION...]

verbs:
{verbs}
  help VERB    the same as VERB --help

set-up, and the first build:
  manycc node --listen 0.0.0.0 --allow 192.168.0.0/24     on each helping machine
  export MANYCC_HOSTS="192.168.0.100/6 raspberrypi.local:3636/4"
  manycc hosts                                            can they be used?
  manycc run -- make                                      a build, with a summary at its end

other ways to build with it:
  manycc gcc -O2 -c foo.c -o foo.o
  CC="manycc gcc" CXX="manycc g++" ./configure && make -j20
  cmake -DCMAKE_C_COMPILER_LAUNCHER=manycc -DCMAKE_CXX_COMPILER_LAUNCHER=manycc ...
  PATH="$(manycc masquerade):$PATH" make -j20

why was a job not sent?
  manycc explain -- gcc -O2 -c foo.c
  manycc stats --last
"""


def help_text() -> str:
    """What ``manycc --help`` prints."""
    width = max(map(len, VERBS))
    return _EXAMPLES.format(verbs="\n".join(f"  {verb:{width}}   {text}" for verb, text in VERBS.items()))


def main(argv: list[str] | None = None) -> int:
    """Run one verb. ``argv`` without the program's name. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    called = os.environ.pop("MANYCC_CALLED", "") or os.path.basename(sys.argv[0])
    if argv is None and called in PROGRAMS:
        return _run_program(called, words)
    verb = words[0] if words else "--help"
    if verb == "--version":
        print(f"manycc {__version__}")
        return 0
    if verb == "help" and len(words) > 1:
        verb, words = words[1], [words[1], "--help"]
    if verb in ("help", "--help", "-h"):
        print(help_text(), end="")
        return 0
    return _run_verb(verb, words[1:])


def _run_program(name: str, words: list[str]) -> int:
    """Run one of distcc's programs; 100 is distcc's code for whatever went wrong."""
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["MANYCC_CALLED"] = name
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-m", "manycc.cli", *words])  # noqa: S606
    from importlib import import_module

    from manycc.cli import output
    from manycc.errors import ManyccError

    output.prepare_streams()
    try:
        code: int = import_module(f"manycc.compat.{PROGRAMS[name]}").main(words)
        sys.stdout.flush()
        return code
    except ManyccError as error:
        output.complain(error, name)
    except BrokenPipeError:
        _forget_stdout()
        return 141
    except OSError as error:
        output.complain(ManyccError(error.filename or name, error.strerror or str(error)), name)
    except KeyboardInterrupt:
        return 130
    return 100


def _run_verb(verb: str, rest: list[str]) -> int:
    if sys.getfilesystemencoding() != "utf-8":
        # Agent, node and launcher agree on UTF-8 names, whatever the caller's locale says.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-m", "manycc.cli", verb, *rest])  # noqa: S606
    from manycc.cli import output
    from manycc.errors import ConfigError, ManyccError

    output.prepare_streams()
    try:
        if verb not in VERBS:
            output.complain(ConfigError(f"there is no verb {verb!r}", "", "see manycc --help"))
            return 2
        from importlib import import_module

        code: int = import_module(f"manycc.cli.{verb}").main(rest)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        output.complain(error)
        return 2
    except ManyccError as error:
        output.complain(error)
        return 1
    except BrokenPipeError:
        _forget_stdout()
        return 141  # as if SIGPIPE had ended us, like any filter's source
    except OSError as error:
        output.complain(ManyccError(error.filename or f"manycc {verb}", error.strerror or str(error)))
        return 1
    except KeyboardInterrupt:
        return 130


def _forget_stdout() -> None:
    """Keep the interpreter's last flush from complaining about a reader that has gone."""
    import os

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
