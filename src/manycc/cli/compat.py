"""``manycc compat``: distcc's programs under their own names."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Sequence

from manycc import config
from manycc.cli.main import PROGRAMS
from manycc.cli.output import say
from manycc.compat import programs
from manycc.errors import ConfigError


def main(argv: Sequence[str]) -> int:
    """Print or fill a folder."""
    parser = argparse.ArgumentParser(
        prog="manycc compat",
        usage="manycc compat [--path | --install DIR | --masquerade DIR]",
        description=f"distcc's programs by their own names ({', '.join(PROGRAMS)}), as links to manycc.",
        epilog='PATH="$(manycc compat --path):$PATH"; manycc compat --install /usr/local/bin; '
        "manycc compat --masquerade /usr/lib/distcc/bin",
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--path", action="store_true", help="make the links in a folder of manycc's own, print its path")
    way.add_argument("--install", metavar="DIR", help="make the links in DIR")
    way.add_argument(
        "--masquerade",
        metavar="DIR",
        help="fill DIR with compiler names that lead to distcc, as makepkg and Portage look for in /usr/lib/distcc/bin",
    )
    options = parser.parse_args(argv)
    if options.install is not None:
        _report(programs.link_programs(_folder(options.install)))
    elif options.masquerade is not None:
        _report(programs.link_compilers(_folder(options.masquerade), os.environ))
    elif options.path:
        path = config.load().compat_dir
        programs.link_programs(path)
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")  # for a shell: the very bytes
    else:
        parser.print_help()
        return 2
    return 0


def _folder(text: str) -> str:
    if not text:
        raise ConfigError("no folder is named", "", "manycc compat --install /usr/local/bin")
    return text


def _report(paths: list[str]) -> None:
    for path in paths:
        say(f"{path} -> {os.readlink(path)}")
    shared = os.stat(os.path.dirname(paths[0])).st_mode & stat.S_IXOTH
    if shared and (hidden := programs.hidden_from_others(paths[0])):
        say(f"manycc: other users cannot follow these links, because {hidden} is closed to them", sys.stderr)
