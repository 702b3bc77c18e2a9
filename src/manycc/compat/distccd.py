"""``distccd``: distcc's daemon by name and options, a node in fact.

What an option asks for is done where a node has it, and said to have no effect where it has none; none is
taken in silence. A node serves distcc's clients and manycc's on the same port, and runs nothing but compilers,
each sealed, whatever the options say. The node's own modules are loaded where they are needed: for a client that
ssh brings, a node that runs already is at work, and starting is all that this costs.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import stat
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from manycc import __version__
from manycc.daemon import logs, relay
from manycc.daemon.settings import MAX_SLOTS, NodeSettings
from manycc.errors import ConfigError, ListenError, ManyccError
from manycc.node.access import PRIVATE, parse_client_networks
from manycc.node.machine import cpu_count
from manycc.node.options import DEFAULT_PORT
from manycc.node.privileges import DEFAULT_USERS, account

if TYPE_CHECKING:
    from manycc.daemon.serve import Start

DEFAULT_STATS_PORT: Final = 3633
DEFAULT_NICE: Final = 5
EXIT_FAILED: Final = 100
EXIT_ARGUMENTS: Final = 101
EXIT_BIND: Final = 102
EXIT_AUTHENTICATION: Final = 119
_WHOLE: Final = re.compile(r"-?[0-9]{1,11}")
_LEVELS: Final = ("critical", "error", "warning", "notice", "info", "debug")


class BadArguments(ManyccError):
    """An option that cannot be used; the usage is shown with it."""


class _Parser(argparse.ArgumentParser):
    def format_usage(self) -> str:
        return super().format_usage().replace("usage:", "Usage:", 1)

    def format_help(self) -> str:
        return super().format_help().replace("usage:", "Usage:", 1)

    def error(self, message: str) -> NoReturn:
        raise BadArguments(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run with these arguments; the exit code is distccd's for the same."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    try:
        options = parser.parse_args(words)
        if options.help:
            print(version_text(), end="\n\n")
            parser.print_help()
            return 0
        if options.version:
            print(version_text())
            return 0
        settings = _settings(options)
    except BadArguments as error:
        print(f"distccd: ERROR: {error}\n", file=sys.stderr)
        parser.print_usage(sys.stderr)
        return EXIT_ARGUMENTS
    except ManyccError as error:
        return _failed(error)
    try:
        if _is_inetd(options):
            return _serve_one(options, settings)
        from manycc.daemon import serve

        return serve.run(_start(options, settings), settings)
    except ManyccError as error:
        return _failed(error)


def version_text() -> str:
    """The first two lines have the shape in which programs look for distccd's."""
    return (
        f"distccd {__version__} {os.uname().machine}-linux-gnu\n"
        f"  (protocols 1, 2 and 3) (default port {DEFAULT_PORT})\n"
        "  a node of manycc, which compiles for distcc's clients and for manycc's"
    )


def _parser() -> _Parser:
    parser = _Parser(
        prog="distccd",
        add_help=False,
        allow_abbrev=False,
        description="manycc's node under distccd's name: compiles for the machines that are allowed to ask. "
        "It runs nothing but compilers, each sealed off from this machine.",
    )
    # fmt: off
    add = parser.add_argument_group("options").add_argument
    add("--help", action="store_true", help="show this and end")
    add("--version", action="store_true", help="show the version and end")
    add("-P", "--pid-file", metavar="FILE", help="write the process number to a file")
    add("-N", "--nice", metavar="N", help=f"give way to other work, 20 the most (default: {DEFAULT_NICE})")
    add("--user", metavar="NAME", help="whom to run as, when started by root (default: the first there is of "
        "manycc, distccd, nobody)")
    add("-j", "--jobs", metavar="N", help="compiles at a time (default: two more than processors)")
    add("--job-lifetime", metavar="S", help="end a compile after so many seconds (default: 0, not)")
    add("--lifetime", metavar="S", help="end after so many seconds (default: 0, not)")
    add("--oom-score-adj", metavar="N", help="how readily the kernel ends it for want of memory")
    add("--sysroot", metavar="DIR", help="accepted, without effect: jobs see their client's files")
    add = parser.add_argument_group("network").add_argument
    add("-p", "--port", metavar="PORT", help=f"TCP port (default: {DEFAULT_PORT})")
    add("--listen", metavar="ADDR", help="address to listen on (default: every one)")
    add("-a", "--allow", metavar="IP[/BITS]", action="append", default=[], help="who may connect; may be repeated")
    add("--allow-private", action="store_true", help="private networks may connect (so it is without --allow)")
    add("--stats", action="store_true", help="serve counters as text over HTTP")
    add("--stats-port", metavar="PORT", help=f"the port for that (default: {DEFAULT_STATS_PORT})")
    add("--zeroconf", action="store_true", help="accepted, without effect")
    add("--enable-tcp-insecure", "--make-me-a-botnet", action="store_true", help="accepted, without effect: nothing "
        "but compilers is run all the same")
    for name in ("--auth", "--show-principal"):
        add(name, action="store_true", help="not supported: an error")
    for name in ("--blacklist", "--whitelist"):
        add(name, metavar="FILE", help="not supported: an error")
    add = parser.add_argument_group("log").add_argument
    add("--log-file", metavar="FILE", help="append the log to a file (default: the system's log)")
    add("--log-level", metavar="LEVEL", help=", ".join(_LEVELS) + " (default: notice)")
    add("--log-stderr", action="store_true", help="log to stderr")
    add("--verbose", action="store_true", help="as --log-level debug")
    add = parser.add_argument_group("mode").add_argument
    add("--daemon", action="store_true", help="listen, in the background")
    add("--no-detach", action="store_true", help="stay in the foreground")
    add("--inetd", action="store_true", help="serve the client connected to stdin and stdout")
    add("--no-fork", action="store_true", help="accepted, without effect: there is one process anyway")
    add("--no-fifo", action="store_true", help="accepted, without effect")
    add("-W", "--wizard", action="store_true", help="as --no-detach --log-stderr --verbose")
    # fmt: on
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    return parser


def _settings(options: argparse.Namespace) -> NodeSettings:
    """The node's settings. Raises BadArguments; ManyccError for what is not supported."""
    values: dict[str, Any] = {
        "listen": options.listen or "*",
        "port": _number("--port", options.port, DEFAULT_PORT, 0, 65535),
        "jobs": _number("--jobs", options.jobs, cpu_count() + 2, 1, MAX_SLOTS),
        "nice": _number("--nice", options.nice, DEFAULT_NICE, 0, 20),
        "job_lifetime": _number("--job-lifetime", options.job_lifetime, 0, 0, 1 << 31),
        "toolchains": "installed-only",  # as with distcc's own, whoever administers it has chosen what it may run
    }
    _number("--lifetime", options.lifetime, 0, 0, 1 << 31)
    notes: list[str] = []
    try:
        allowed = parse_client_networks(options.allow)
    except ConfigError as error:
        raise BadArguments(f"--allow: {error.what}", error.why, error.hint) from error
    if options.allow_private or not (allowed or _is_inetd(options)):
        allowed += PRIVATE
        if not options.allow_private:
            notes.append("without --allow, private networks may connect: name yours with --allow")
    if allowed:
        values["allow"] = allowed
    for option in ("whitelist", "blacklist", "auth", "show_principal"):
        if getattr(options, option):
            name = "--" + option.replace("_", "-")
            raise Unsupported(
                f"{name} is not supported",
                "there is no GSS-API authentication",
                "say who may connect by --allow, or reach this machine by ssh (@HOST in the clients' list)",
            )
    if options.rest:
        notes.append(f"what stands behind the options has no effect: {' '.join(options.rest)}")
    if options.user is not None and os.geteuid() == 0:  # for others it has no meaning
        try:
            values["user"] = account(options.user).pw_name
        except ConfigError as error:
            notes.append(f"{error.what}: one of {', '.join(DEFAULT_USERS)} is taken")
    if options.oom_score_adj is not None:
        values["oom_score_adj"] = _number("--oom-score-adj", options.oom_score_adj, 0, -1000, 1000)
    for option in ("pid_file", "log_file"):
        if getattr(options, option):
            values[option] = os.path.abspath(getattr(options, option))
    if options.stats:
        values["stats_port"] = _number("--stats-port", options.stats_port, DEFAULT_STATS_PORT, 0, 65535)
    if os.environ.get("TMPDIR"):
        values["tmpdir"] = os.path.abspath(os.environ["TMPDIR"])
    for option, why in _WITHOUT_EFFECT:
        if getattr(options, option):
            notes.append(f"--{option.replace('_', '-')} has no effect: {why}")
    level = "debug" if options.verbose or options.wizard else options.log_level
    if level is not None and level not in _LEVELS:
        notes.append(f"there is no --log-level {level!r}; levels are {', '.join(_LEVELS)}")
        level = None
    values["log_level"] = level or "notice"
    return NodeSettings(values, dict.fromkeys(values, "distccd's options"), tuple(notes))


_WITHOUT_EFFECT: Final = (
    ("zeroconf", "this node does not announce itself; name it in the clients' host list"),
    ("enable_tcp_insecure", "nothing but compilers is run all the same"),
    ("sysroot", "jobs see their client's files and their compiler's, and no others"),
)


class Unsupported(ManyccError):
    """An option that asks for protection that is not there: to go on without it would be wrong."""


def _number(option: str, text: str | None, default: int, low: int, high: int) -> int:
    """Raises BadArguments."""
    if text is None:
        return default
    if not _WHOLE.fullmatch(text):
        raise BadArguments(f"{option} {text}: this is no number")
    if not low <= int(text) <= high:
        raise BadArguments(f"{option} {text}: it must be between {low} and {high}")
    return int(text)


def _is_inetd(options: argparse.Namespace) -> bool:
    """Whether one client is to be served that is connected already: asked for, or found to be so."""
    if options.inetd or options.daemon:
        return bool(options.inetd)
    try:
        return stat.S_ISSOCK(os.fstat(0).st_mode)
    except OSError:
        return False


def _serve_one(options: argparse.Namespace, settings: NodeSettings) -> int:
    """A node that runs already has the caches; limits and networks that are named are ours to keep."""
    limits = (options.jobs, options.nice, options.job_lifetime, options.oom_score_adj, options.user)
    own = options.allow or options.allow_private or any(limit is not None for limit in limits)
    if not own and relay.pass_on(settings.get("port")):
        return 0
    from manycc.daemon.inetd import serve_one

    return serve_one(settings, _start(options, settings))


def _start(options: argparse.Namespace, settings: NodeSettings) -> Start:
    from manycc.daemon.serve import Start

    return Start(
        load=lambda: settings,
        env=dict(os.environ),
        program="distccd",
        detach=not (options.no_detach or options.wizard),
        announce=False,
        lifetime=_number("--lifetime", options.lifetime, 0, 0, 1 << 31),
        form=logs.DistccForm(),
        log_file=_log_target(options),
        failed=EXIT_FAILED,
    )


def _log_target(options: argparse.Namespace) -> str:
    """Where the log goes unless a file is named: to stderr if so told, else to the system's log if there is one."""
    if options.log_stderr or options.wizard:
        return ""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.connect(logs.SYSLOG)
    except OSError:
        return ""
    return logs.SYSLOG


def _failed(error: ManyccError) -> int:
    print(f"distccd: ERROR: {error}", file=sys.stderr)
    if isinstance(error, ListenError):
        return EXIT_BIND
    if isinstance(error, Unsupported):
        return EXIT_AUTHENTICATION
    return EXIT_ARGUMENTS if isinstance(error, ConfigError) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
