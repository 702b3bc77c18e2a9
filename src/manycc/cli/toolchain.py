"""``manycc toolchain``: the compilers that this machine has, gets, and may use for others.

The compilers themselves are found by ``toolchain/installed.py``; what is shown of them is in
``toolchainview``, how hosts and canaries judge them in ``toolchainmatch``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from manycc.cli.output import print_json, say
from manycc.command.drivers import ZIG
from manycc.errors import ManyccError
from manycc.job import Toolchain
from manycc.toolchain import added, packages, probe
from manycc.toolchain.added import Added
from manycc.toolchain.installed import drivers_below, installed

_WITH_FLAGS = ("match", "verify")
_DESCRIPTION = """\
The compilers that this machine has, and how to get more. A node finds the compilers in PATH, in
/opt/*/bin, /opt/*/*/bin and ~/x-tools, and those that were added, under whatever names they have
there: nothing needs to be linked or put in PATH.
"""


def main(argv: Sequence[str]) -> int:
    """Do what the first word says."""
    parser = argparse.ArgumentParser(
        prog="manycc toolchain", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_parsers(verbs)
    if not argv or argv[0] not in verbs.choices:
        import_module("manycc.cli.recipe").add_parsers(verbs)  # recipe and build
    # Taken apart here: argparse loses track of a "--" that comes after an option.
    words, flags = list(argv), []
    if "--" in words and words[0] in _WITH_FLAGS:
        words, flags = words[: words.index("--")], words[words.index("--") + 1 :]
    options = parser.parse_args(words)
    options.flags = flags
    code: int = options.run(options)
    return code


def _add_parsers(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    def verb(name: str, module: str, text: str, description: str = "") -> argparse.ArgumentParser:
        parser = verbs.add_parser(name, help=text, description=description or text[0].upper() + text[1:] + ".")
        parser.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
        parser.set_defaults(run=lambda options: _run(module, name, options))
        return parser

    verb("list", "toolchainview", "the compilers found here, and why others are not used")
    one = verb("probe", "toolchainview", "all that is known of one compiler")
    one.add_argument(
        "compiler", nargs="?", default="", metavar="COMPILER", help="name or path (default: gcc, else clang)"
    )
    one = verb(
        "match", "toolchainmatch", "how a host would serve each compiler of this machine",
        "How a host would serve the compilers of this machine, asked of the host itself. As for a job, a compiler that "
        "it lacks is sent there, if it takes that. "
        "Options of the compiles that are meant may follow after --. Exit code 1 if it serves none.",
    )  # fmt: skip
    one.add_argument("host", metavar="HOST", help="as in MANYCC_HOSTS")
    one.add_argument("compilers", nargs="*", metavar="COMPILER", help="default: gcc, g++, clang of PATH")
    one.add_argument("--all", action="store_true", help="all compilers of manycc toolchain list")
    one = verb(
        "add", "toolchain", "add an archive, or a folder with a toolchain",
        "Add an archive (.tar, or pressed by gzip, bzip2, xz or zstd) or a folder, of any layout with bin/gcc, "
        "bin/TRIPLE-gcc or clang. Its programs are run, as you, to be asked what they are: add what you trust. As root "
        f"it is for all nodes of this machine ({added.SYSTEM}), else for nodes that you start.",
    )  # fmt: skip
    one.add_argument("source", metavar="PATH-OR-ARCHIVE", help="an archive; or a folder, which is used where it is")
    one.add_argument("--copy", action="store_true", help="copy the folder")
    one.add_argument(
        "--name", default="", metavar="NAME", help="what to call it (default: compiler, version and target)"
    )
    one = verb(
        "install", "toolchain", "install a compiler for a target, from packages",
        "Install a compiler: Debian's or Ubuntu's packages of gcc for a target triple (gcc -dumpmachine on the "
        "machine that is to be helped says which), clang, which makes code for all targets; or zig from PyPI, "
        "whose zig cc and zig c++ are sent to nodes where -target names a Linux system.",
    )  # fmt: skip
    one.add_argument(
        "wanted", metavar="TRIPLE[@VERSION]", help="such as aarch64-linux-gnu@12, clang@14 or ziglang@0.17.0"
    )
    one.add_argument("--dry-run", action="store_true", help="only say what would be installed, and how")
    one = verb(
        "verify", "toolchainmatch", "compile the canaries with a toolchain, and with this machine's of the same target",
        "Compile small sources that show how a compiler is configured, with a toolchain and with another one here of "
        "the same target, and compare the objects: under the usual options, or under those that follow after --. "
        "Exit code 1 if objects differ, 2 if there is nothing to compare.",
    )  # fmt: skip
    one.add_argument("name", nargs="?", default="", metavar="NAME-OR-COMPILER", help="default: all that were added")
    one.add_argument("--against", default="", metavar="COMPILER", help="compare with this one")
    one = verb("remove", "toolchain", "remove what was added; a folder that was used where it is stays")
    one.add_argument("name", metavar="NAME", help="as manycc toolchain list shows it")


def _run(module: str, name: str, options: argparse.Namespace) -> int:
    code: int = getattr(import_module(f"manycc.cli.{module}"), f"run_{name}")(options)
    return code


def run_add(options: argparse.Namespace) -> int:
    """Add an archive or a folder."""
    one, toolchains = asyncio.run(added.add(options.source, os.environ, name=options.name, copy=options.copy))
    return _tell(one, toolchains, options.json)


def run_remove(options: argparse.Namespace) -> int:
    """Remove what was added."""
    one = added.remove(options.name, os.environ)
    if options.json:
        print_json({"removed": one.name, "folder": one.folder})
    elif one.linked:
        say(f"removed {one.name}; its files stay in {one.linked}")
    else:
        say(f"removed {one.name}")
    return 0


def run_install(options: argparse.Namespace) -> int:
    """Install by apt, or by pip for zig."""
    what = packages.wanted(options.wanted)
    if what.name == packages.ZIGLANG:
        return _install_zig(what, options)
    names = packages.apt_packages(what, _native())
    version = packages.check_apt(what, names)
    if options.dry_run:
        if options.json:
            print_json({"packages": names, "version": version, "command": packages.apt_command(names)})
        else:
            say(f"{' and '.join(names)}, version {version}, would be installed by")
            say(f"  {' '.join(packages.apt_command(names))}")
        return 0
    packages.apt_install(names)
    found = [one for one in installed(os.environ) if _is_of(names, one.path, one.aliases)]
    if options.json:
        print_json({"packages": names, "version": version, "compilers": [one.path for one in found]})
    else:
        say(f"installed {' and '.join(names)}, version {version}")
        for one in found:
            say(f"  {one.path}")
        say("nodes of this machine find it by themselves")
    return 0


def _install_zig(what: packages.Wanted, options: argparse.Namespace) -> int:
    if options.dry_run:
        command = packages.pip_command(
            what.version, os.path.join(added.own_folder(os.environ), packages.ZIGLANG, "tree")
        )
        if options.json:
            print_json({"packages": [packages.ZIGLANG], "version": what.version, "command": command})
        else:
            say(f"zig would be installed by\n  {' '.join(command)}".replace("\n  ", ": "))
        return 0
    name = f"{packages.ZIGLANG}-{what.version}" if what.version else packages.ZIGLANG
    one, _ = asyncio.run(
        added.put(f"{name} of PyPI", lambda tree: packages.pip_install(what.version, tree), os.environ, name=name)
    )
    code = _tell(one, [], options.json)
    if not options.json:
        for path in drivers_below(one.tree):
            say(f"to use it: manycc {path} cc -target x86_64-linux-gnu ...")
        say("nodes that lack it are sent it; without -target, and for other systems than Linux, jobs stay here")
    return code


def _tell(one: Added, toolchains: Sequence[Toolchain], as_json: bool) -> int:
    """What was added, and who finds it."""
    drivers = drivers_below(one.tree)
    if as_json:
        print_json(
            {
                "added": one.name, "folder": one.folder, "linked": one.linked,
                "compilers": [{"path": each.driver, "label": each.label, "host": each.host} for each in toolchains]
                or [{"path": path, "label": ZIG, "host": ""} for path in drivers],
            }
        )  # fmt: skip
        return 0
    say(f"added {one.name} in {one.folder}" + (f", which leads to {one.linked}" if one.linked else ""))
    for label in dict.fromkeys(each.label for each in toolchains):
        say(f"  {label}")
    if os.path.dirname(one.folder) == added.SYSTEM:
        say("all nodes of this machine find it")
    elif os.environ.get("MANYCC_DIR"):
        say("nodes that are started with this MANYCC_DIR find it")
    else:
        say("nodes that you start find it; for a node of the system, add it as root")
    say(f"to take it away again: manycc toolchain remove {one.name}")
    return 0


def _native() -> str:
    """The triple of this machine's own compiler; of its processor where there is no compiler yet."""
    from manycc.toolchain import machines

    for name in ("gcc", "cc", "clang"):
        path = next(
            (one.path for one in installed(os.environ) if os.path.basename(one.path) == name and one.usable), ""
        )
        if path:
            try:
                answer = asyncio.run(probe.run([path, "-dumpmachine"], probe.environment(os.environ)))
            except ManyccError:
                continue
            if answer.code == 0 and answer.stdout.strip():
                return answer.stdout.strip()
    names = {"x86-64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu", "x86": "i686-linux-gnu"}
    return names.get(machines.this_host(), "")


def _is_of(names: Sequence[str], path: str, aliases: Sequence[str]) -> bool:
    """Whether a driver is what a package brings: ``gcc-12-TRIPLE`` has ``TRIPLE-gcc-12``."""
    called = {os.path.basename(each).replace("_", "-") for each in (path, *aliases)}
    for name in names:
        kind, *rest = name.split("-")
        version = rest.pop(0) if rest and rest[0][:1].isdigit() else ""
        driver = "-".join([*rest, kind, *([version] if version else [])])
        if driver in called:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
