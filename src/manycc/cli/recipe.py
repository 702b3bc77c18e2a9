"""``manycc toolchain recipe`` and ``build``: a cross compiler like the client's, made with crosstool-NG."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tarfile
from typing import TYPE_CHECKING, Any

from manycc.cli.output import say
from manycc.errors import CompilerError, ConfigError, ManyccError, NotDistributable, ToolchainError

if TYPE_CHECKING:
    from manycc.job import Toolchain
    from manycc.toolchain.crosstool.probe import Probe

_MAX_DIFFERENCES = 10


def add_parsers(subparsers: Any) -> None:
    """Add both to the verb ``toolchain``."""
    recipe = subparsers.add_parser(
        "recipe",
        help="write a crosstool-NG configuration for a compiler like this machine's",
        description="Probe a compiler, and write a configuration with which crosstool-NG builds one that makes "
        "the same objects elsewhere. What will differ all the same is said on stderr, and in the file.",
    )
    source = recipe.add_mutually_exclusive_group(required=True)
    source.add_argument("--for-client", action="store_true", help="for the compiler of this machine")
    source.add_argument(
        "--from-probe", metavar="FILE", help="for one of another machine: manycc toolchain probe --json"
    )
    recipe.add_argument("--compiler", metavar="NAME", default="gcc", help="which compiler of this machine (gcc)")
    recipe.add_argument(
        "--host", metavar="TRIPLE", default="", help="the toolchain is to run on this, say aarch64-linux-gnu"
    )
    recipe.add_argument("--ct-ng", metavar="PATH", help="the crosstool-NG to write it for: the program, or its folder")
    recipe.add_argument(
        "--gcc-source", metavar="PATH", default="",
        help='sources of gcc, say the distribution\'s own; "stock" for the nearest version that crosstool-NG offers',
    )  # fmt: skip
    recipe.add_argument(
        "--gcc-revision", metavar="COMMIT", default="", help="a commit of gcc's repository to build from"
    )
    recipe.add_argument("--ci", choices=("azure", "github"), help="write a pipeline for a hosted runner instead")
    recipe.add_argument("-o", "--output", metavar="FILE", help="write to this file (stdout)")
    recipe.set_defaults(run=_recipe)
    build = subparsers.add_parser(
        "build",
        help="build a toolchain from a recipe with crosstool-NG, and add it",
        description="Drive an installed crosstool-NG. It takes hours and up to 20 GB; the same command again goes on "
        "where it failed. A toolchain for this machine is added and tried; one for another becomes an archive to add "
        "there.",
    )
    build.add_argument("recipe", metavar="RECIPE", help="a file that manycc toolchain recipe wrote")
    build.add_argument(
        "--ct-ng", metavar="PATH", default="", help="the program ct-ng, or the folder it is in (from PATH)"
    )
    build.add_argument(
        "--tarballs", metavar="DIR", default="", help="a folder of sources; what is downloaded is kept there"
    )
    build.add_argument(
        "--offline", action="store_true", help="download nothing: all sources are in the folder of tarballs"
    )
    build.add_argument(
        "--into", metavar="DIR", default="", help="install it there and use it there (else it is copied)"
    )
    build.add_argument("--work", metavar="DIR", default="", help="the build's own folder (below the cache folder)")
    build.add_argument("-j", "--jobs", metavar="N", type=int, default=len(os.sched_getaffinity(0)), help="jobs at once")
    build.add_argument("--fresh", action="store_true", help="begin anew, whatever an earlier attempt left")
    build.set_defaults(run=_build)


def _recipe(options: argparse.Namespace) -> int:
    from manycc.toolchain.crosstool import ask, pipeline, recipe, versions

    offer = versions.read(options.ct_ng) if options.ct_ng else versions.BUILT_IN
    if options.from_probe is not None:
        probe = _carried(options.from_probe)
    else:
        probe = asyncio.run(ask.ask(options.compiler, os.environ))
    source = options.gcc_source
    if source not in ("", "stock") and not options.ci:
        source = os.path.abspath(source)
        if not os.path.exists(source):
            raise ConfigError(f"{source} is not there", "it was named by --gcc-source")
    wishes = recipe.Wishes(options.host, source, options.gcc_revision, save_steps=not options.ci)
    written = recipe.write(probe, offer, wishes)
    text = pipeline.write(written, options.ci) if options.ci else written.text
    if options.output:
        try:
            with open(options.output, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ConfigError(f"{options.output} cannot be written", error.strerror or str(error)) from error
    else:
        print(text, end="")
    say(f"for {probe.label}, with crosstool-NG {offer.version}", sys.stderr)
    for deviation in written.deviations:
        say(f"  differs: {deviation}", sys.stderr)
    for needed in () if options.ci else written.sources:
        say(f"  needs {needed.name} in the folder of tarballs: curl -fLO {needed.url}", sys.stderr)
    return 0


def _carried(path: str) -> Probe:
    from manycc.toolchain.crosstool import probe

    return probe.from_json(_read(path, probe.MAX_FILE), path)


def _read(path: str, most: int) -> str:
    """A small file's text. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            return file.read(most + 1).decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", error.strerror or str(error)) from error


def _build(options: argparse.Namespace) -> int:
    from manycc.config import folders
    from manycc.toolchain.crosstool import build, check

    text = _read(options.recipe, check.MAX_RECIPE)
    values = check.recipe_values(text, options.recipe)
    if not 1 <= options.jobs <= 1024:
        raise ConfigError(f"{options.jobs} jobs at once are not possible", "", "give 1 to 1024")
    stem = os.path.splitext(os.path.basename(options.recipe))[0] or "toolchain"
    work = os.path.abspath(options.work or os.path.join(folders(os.environ)["cache_dir"], "crosstool-ng", stem))
    prefix = os.path.abspath(options.into or os.path.join(work, "x-tools", stem))
    plan = build.Plan(
        recipe=text,
        name=options.recipe,
        program=build.find_ct_ng(options.ct_ng, os.environ),
        work=work,
        prefix=prefix,
        tarballs=os.path.abspath(options.tarballs) if options.tarballs else "",
        jobs=options.jobs,
        offline=options.offline,
        fresh=options.fresh,
    )
    build.build(plan, os.environ, _progress)
    if values.get("CT_CANADIAN") == "y":
        archive = _packed(prefix)
        say(f"built: {archive}")
        say(f"  where it is to run: manycc toolchain add {os.path.basename(archive)}")
        return 0
    return asyncio.run(_added(prefix, bool(options.into), text))


def _progress(line: str) -> None:
    say(line)
    sys.stdout.flush()


def _packed(prefix: str) -> str:
    """The toolchain as an archive beside its folder. Raises ToolchainError."""
    archive = prefix + ".tar.xz"
    _progress(f"packing {archive}")
    try:
        with tarfile.open(archive + ".new", "w:xz", format=tarfile.PAX_FORMAT) as file:
            file.add(prefix, os.path.basename(prefix))
        os.replace(archive + ".new", archive)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(archive + ".new")
        raise ToolchainError(f"{archive} cannot be written", error.strerror or str(error)) from error
    return archive


async def _added(prefix: str, stays: bool, recipe: str) -> int:
    """Add a toolchain for this machine, and compare it with the compiler it is meant to equal, if that is here."""
    from manycc.toolchain import added

    one, toolchains = await added.add(prefix, os.environ, copy=not stays)
    say(f"added: {one.name}")
    wanted = next((line[8:] for line in recipe.splitlines() if line.startswith("# ident: ")), "").strip()
    for toolchain in toolchains:
        say(f"  {toolchain.label}, for {toolchain.target}")
    client = await _client(toolchains, wanted)
    if client is None:
        say("  the compiler it is meant for is not here: a client's first job proves it, or refuses it with a sentence")
        return 0
    return await _compared(toolchains, client)


async def _client(toolchains: list[Toolchain], ident: str) -> Toolchain | None:
    """This machine's gcc, if the recipe was made for it."""
    from manycc.inputs.fileview import FileView
    from manycc.toolchain.crosstool.ask import ask
    from manycc.toolchain.identity import Identifier
    from manycc.toolchain.paths import find_program

    path = find_program("g++", os.environ) or find_program("gcc", os.environ)
    if not path or not toolchains or not ident:
        return None
    try:
        if (await ask(path, os.environ)).ident != ident:
            return None
        client = await Identifier(FileView().digest_of).identify(path, os.environ)
    except (CompilerError, NotDistributable):
        return None
    return client if any(one.target == client.target for one in toolchains) else None


async def _compared(toolchains: list[Toolchain], client: Toolchain) -> int:
    """Compile the canaries with both; 1 if an object differs."""
    from manycc.toolchain import proving

    built = next((one for one in toolchains if "cc1plus" in one.components), toolchains[0])
    same, others = 0, []
    try:
        async for result in proving.compare(built, client):
            if result.state == proving.SAME:
                same += 1
            else:
                others.append(result)
    except ManyccError as error:
        raise ToolchainError("the canaries cannot be compiled", str(error)) from error
    say(f"  canaries: {same} of {same + len(others)} objects are those of {client.driver}")
    for result in others[:_MAX_DIFFERENCES]:
        detail = result.lines[0] if result.lines else ""
        say(f"    {' '.join(result.flags)} {result.canary}: {result.state}{': ' + detail if detail else ''}")
    if len(others) > _MAX_DIFFERENCES:
        say(f"    and {len(others) - _MAX_DIFFERENCES} more")
    return 1 if others else 0
