"""``manycc node``: run a node, which compiles for other machines."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from manycc.daemon import distccdefault, serve
from manycc.daemon.reload import shown
from manycc.daemon.settings import DEFAULT_FILE, PREFIX, SETTINGS, SYSTEM_FILE, NodeSettings, Sources
from manycc.errors import ConfigError, ManyccError

_DESCRIPTION: Final = """\
Run a node: compile for the machines that are allowed to ask. It serves the compilers that are
installed here to those machines that have the very same ones, takes those that machines of its own
kind send (unless --toolchains installed-only), and lets others stand in where trials show them to be
equivalent. Every compile is sealed: it sees its own inputs, has no network and cannot write outside
its own folder."""

_EPILOG: Final = f"""\
Everything from --listen to --oom-score-adj can also be set in {DEFAULT_FILE} (JOBS=4), in
{SYSTEM_FILE} or node.toml in your own configuration folder (jobs = 4), and in the environment
({PREFIX}JOBS=4). A flag outranks the environment, that outranks the files, and the later file the earlier.
SIGHUP reads the settings again, SIGTERM ends the node when its jobs are done."""


def main(argv: Sequence[str]) -> int:
    """Run with the verb's own arguments; the exit code: 0, 1 if it cannot start, 2 for a wrong setting."""
    arguments = _parser().parse_args(argv)
    try:
        start = _start(arguments)
        settings = start.load()
        settings.options(start.env)
        if arguments.show_settings:
            _show(settings, start)
            return 0
    except distccdefault.NotWanted as error:
        _complain(error)
        return 0
    except ConfigError as error:
        _complain(error)
        return 2
    try:
        return serve.run(start, settings)
    except ManyccError as error:
        _complain(error)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="manycc node",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    for setting in SETTINGS:
        names = ["--jobs", "-j"] if setting.name == "jobs" else [setting.flag]
        if setting.name == "allow":
            add(*names, metavar=setting.shape, action="append", help=setting.meaning)
        elif setting.name == "when_idle":
            add(*names, metavar=setting.shape, nargs="?", const="yes", help=setting.meaning)
        else:
            add(*names, metavar=setting.shape, help=setting.meaning)
    # fmt: off
    add("--daemon", action="store_true", help="go to the background once it listens")
    add("--no-detach", action="store_true", help="with --daemon: stay in the foreground, for a supervisor")
    add("--config", metavar="FILE", action="append",
        help="read settings from this file instead of the usual ones: NAME.toml, or KEY=VALUE lines; may be repeated")
    add("--no-config", action="store_true", help="read no files of settings")
    add("--from-distcc-default", metavar="FILE", nargs="?", const=distccdefault.FILE,
        help=f"begin with what distcc's own settings say (default: {distccdefault.FILE})")
    add("--show-settings", action="store_true", help="print all settings, where each comes from, and end")
    add("--ready-fd", type=int, metavar="FD", help="write the port and a newline there once it listens")
    add("--die-with-parent", action="store_true", help="end when the process that started it ends")
    # fmt: on
    return parser


def _start(arguments: argparse.Namespace) -> serve.Start:
    """Raises ConfigError."""
    if arguments.config and arguments.no_config:
        raise ConfigError("--config and --no-config", "they exclude each other")
    flags = {setting.name: getattr(arguments, setting.name) for setting in SETTINGS}
    base = None
    if arguments.from_distcc_default is not None:
        path = os.path.abspath(arguments.from_distcc_default)

        def base() -> NodeSettings:
            return distccdefault.read(path)

    env = dict(os.environ)
    sources = Sources(flags, env, [] if arguments.no_config else arguments.config, base)
    return serve.Start(
        load=sources.load,
        env=env,
        detach=arguments.daemon and not arguments.no_detach,
        ready_fd=arguments.ready_fd,
        die_with_parent=arguments.die_with_parent,
    )


def _show(settings: NodeSettings, start: serve.Start) -> None:
    for setting in SETTINGS:
        value = settings.get(setting.name)
        if setting.name == "store" and value is None:
            value = settings.store(start.env)
        print(f"{setting.name} = {shown(value)} ({settings.origin(setting.name)}): {setting.meaning}")
    for note in settings.notes:
        print(f"note: {note}")


def _complain(error: ManyccError) -> None:
    print(f"manycc node: {error.what}" + (f": {error.why}" if error.why else ""), file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
