"""What others say of this machine's compilers: a host that is asked, and the canaries."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, Final

from manycc import __version__, config
from manycc.cli import client
from manycc.cli.findings import OK, WARN, Finding
from manycc.cli.output import print_json, print_table, say
from manycc.cli.toolchainview import Seen, find, look_around
from manycc.command.drivers import ZIG, words_to_ask
from manycc.errors import CompilerError, NotDistributable, ToolchainError
from manycc.hostlist import parse_list
from manycc.inputs.fileview import FileView
from manycc.job import Toolchain
from manycc.monitor.units import amount
from manycc.toolchain import added, facts, machines, proving
from manycc.toolchain.identity import Identifier
from manycc.toolchain.installed import PATH
from manycc.toolchain.packages import ZIGLANG
from manycc.wire.launcher import Request

NOTHING_TO_COMPARE: Final = 2
_PLAIN: Final = re.compile(r"(?:gcc|g\+\+|clang|clang\+\+)(?:-[\d.]+)?")
_WAYS: Final[dict[str, str]] = {
    "same": "the same bytes",
    "shipped": "sent there",
    "equivalent": "an equivalent one there",
}

# -- match


def run_match(options: argparse.Namespace) -> int:
    """How a host would serve each compiler. 1 if none."""
    settings = config.load(flags={"hosts": options.host})
    nodes = [spec for spec in parse_list(options.host).hosts if not spec.local and not spec.down]
    if len(nodes) != 1:
        raise ToolchainError(
            f"{options.host!r} is not one host", "", "name one as MANYCC_HOSTS does: manycc toolchain match pi.local"
        )
    seen = _chosen(options.compilers, options.all)
    found = []
    for one in seen:
        found += _asked(settings, one, options.host, options.flags)
        if found[0]["state"] != "ready":
            raise ToolchainError(
                f"{nodes[0].name} cannot be asked", found[0]["sentence"], "manycc hosts tries the hosts"
            )
    if options.json:
        print_json({"host": nodes[0].name, "compilers": found})
    else:
        print_table(
            ["compiler", "served", "what the host says"],
            [[each["path"], _way(each), each["sentence"]] for each in found],
        )
        for advice in dict.fromkeys(advised(each) for each in found if _way(each) == "no"):
            say(f"  hint: {advice}")
    return 0 if any(each["served"] for each in found) else 1


def check_ways(settings: config.Config) -> Iterator[Finding]:
    """How each host that answers serves the compilers that builds on this machine call (for ``manycc doctor``)."""
    answer = client.ask(settings, {"op": "status", "hosts": settings.hosts}) or {}
    if not any(host.get("state") == "ready" for host in answer.get("hosts") or []):
        yield Finding(OK, "there is no host that answers")
        return
    for one in _chosen((), False):
        for each in _asked(settings, one, settings.hosts, ()):
            if each["state"] == "ready":
                text = f"{each['path']} on {each['host']}: {each['sentence']}"
                yield Finding(WARN, text, advised(each)) if _way(each) == "no" else Finding(OK, text)


def advised(each: dict[str, Any]) -> str:
    """What to type where a host does not serve a compiler."""
    if each["kind"] == ZIG:
        return f"on that machine: manycc toolchain install {ZIGLANG}@{each['version']}"
    what = f"clang@{each['version']}" if each["kind"] == "clang" else f"{each['target']}@{each['version']}"
    return f"on that machine: manycc toolchain install {what}; or here: manycc toolchain recipe --for-client"


def _chosen(names: Sequence[str], every: bool) -> list[Seen]:
    """The compilers that are meant. Raises ToolchainError if there is none."""
    seen = [one for one in asyncio.run(look_around()) if one.driver is not None]
    if names:
        paths = {os.path.realpath(find(name)) for name in names}
        seen = [one for one in seen if os.path.realpath(one.found.path) in paths]
    elif not every:
        seen = [
            one
            for one in seen
            if one.found.origin == PATH and any(map(_is_plain, (one.found.path, *one.found.aliases)))
        ]
    if not seen:
        raise ToolchainError("no such compiler that can be used was found here", "", "manycc toolchain list shows them")
    return seen


def _is_plain(path: str) -> bool:
    """Whether a build that says gcc, or g++-12, means this."""
    return _PLAIN.fullmatch(os.path.basename(path)) is not None


def _asked(settings: config.Config, one: Seen, hosts: str, flags: Sequence[str]) -> list[dict[str, Any]]:
    """What each host says of a compiler, by way of the agent; one without a name if none was asked."""
    driver = one.driver
    assert driver is not None  # noqa: S101 (the caller keeps to those)
    with tempfile.TemporaryDirectory(prefix="manycc-") as folder:
        source = "match.cc" if one.found.cxx else "match.c"
        with open(os.path.join(folder, source), "w", encoding="ascii") as file:
            file.write("int match;\n")
        argv = [one.found.path, *words_to_ask(one.found.path), *flags, "-c", source]
        env = {**os.environ, "MANYCC_HOSTS": hosts}
        answer = client.explain(settings, Request(__version__, one.found.path, folder, argv, env, 0o022, 0, 0))
    # Where the compile that is meant can be sent to nobody, the answer itself says why.
    why = answer.get("sentence") or answer.get("detail") or "it was not asked"
    kind, version = driver.kind, driver.version
    if one.found.kind == ZIG:
        kind, version = ZIG, driver.package.removeprefix("zig ")
    told = answer.get("hosts") or [{"sentence": why, "state": "ready" if answer.get("reason") else ""}]
    return [
        {
            "host": str(host.get("name", "")), "path": one.found.path, "kind": kind, "target": driver.target,
            "version": version, "served": str(host.get("sentence", "")).startswith(("can:", "can,")),
            "way": str(host.get("way") or ""), "state": str(host.get("state", "")),
            "sentence": str(host.get("sentence", "")) or why,
        }
        for host in told
    ]  # fmt: skip


def _way(each: dict[str, Any]) -> str:
    if not each["served"]:
        return "not yet" if each["sentence"].startswith("not yet") else "no"
    return _WAYS.get(each["way"], "yes")


# -- verify


def run_verify(options: argparse.Namespace) -> int:
    """Canaries of one toolchain, or of all that were added."""
    return asyncio.run(_verify(options))


async def _verify(options: argparse.Namespace) -> int:
    seen = [one for one in await look_around() if one.driver is not None]
    subjects = _subjects(options.name, seen)
    identifier = Identifier(FileView().digest_of)
    flag_sets = [options.flags] if options.flags else proving.FLAG_SETS
    answers = []
    for subject in subjects:
        mine = await _identified(identifier, subject)
        other = await _other(identifier, mine, subject, seen, options.against)
        answers.append(await _proven(mine, other, flag_sets, options.json))
    if options.json:
        print_json({"verified": answers})
    states = {answer["verdict"] for answer in answers}
    return 1 if proving.DIFFERS in states else 0 if states == {proving.SAME} else NOTHING_TO_COMPARE


def _subjects(name: str, seen: Sequence[Seen]) -> list[str]:
    """The drivers to be tried: one for each compiler, that of C, which compiles C++ as well."""
    names = {one.name for one in added.added(os.environ)}
    if name and name not in names:
        return [find(name)]
    if not names:
        raise ToolchainError(
            "no toolchain was added", "", "manycc toolchain verify COMPILER tries one that is installed"
        )
    chosen = [one for one in seen if one.found.toolchain and name in ("", one.found.toolchain)]
    drivers: dict[tuple[str, ...], str] = {}
    for one in sorted(chosen, key=lambda one: one.found.cxx):
        assert one.driver is not None  # noqa: S101 (the caller keeps to those)
        drivers.setdefault((one.found.toolchain, one.driver.kind, one.driver.version, one.target), one.found.path)
    if not drivers:
        raise ToolchainError(
            f"{name or 'what was added'} has no compiler that can be used", "", "see manycc toolchain list"
        )
    return list(drivers.values())


async def _identified(identifier: Identifier, path: str) -> Toolchain:
    try:
        return await identifier.identify(path, os.environ)
    except NotDistributable as error:
        raise ToolchainError(f"{path} is not a compiler that can be used", error.detail or error.what) from error


async def _other(
    identifier: Identifier, mine: Toolchain, subject: str, seen: Sequence[Seen], named: str
) -> Toolchain | None:
    """The compiler here to compare with: the one named, else of the same kind and target, best of the same version."""
    if named:
        return await _identified(identifier, find(named))
    triple = machines.triple_of(mine.target, {})
    alike = [
        one for one in seen
        if one.driver is not None and one.driver.kind == mine.kind and not one.found.cxx
        and os.path.realpath(one.found.path) != os.path.realpath(subject)
        and machines.triple_of(one.driver.target, {}) == triple
    ]  # fmt: skip
    for one in sorted(alike, key=lambda one: one.driver is None or one.driver.version != mine.version):
        try:
            other = await identifier.identify(one.found.path, os.environ)
        except (CompilerError, NotDistributable):
            continue
        if other.facts.get("triple") == mine.facts.get("triple"):
            return other
    return None


async def _proven(
    mine: Toolchain, other: Toolchain | None, flag_sets: Sequence[Sequence[str]], quiet: bool
) -> dict[str, Any]:
    """Try a compiler, and tell as it goes."""
    answer: dict[str, Any] = {"path": mine.driver, "label": mine.label, "against": "", "difference": "", "results": []}
    if other is None:
        answer["verdict"] = "alone"
        try:
            await proving.compiles(mine)
        except CompilerError as error:
            raise ToolchainError(error.what, error.why) from error
        if not quiet:
            say(f"{mine.driver}: {mine.label}")
            say("  it compiles; no other compiler here makes code for its target, so there is nothing to compare with.")
            say("  Whether it makes a client's objects is proven with that client's first job.")
        return answer
    answer["against"] = other.driver
    answer["difference"] = facts.difference(mine.facts, other.facts)
    if not quiet:
        say(f"{mine.driver}: {mine.label}")
        say(f"  against {other.driver}: {other.label}")
        if answer["difference"]:
            say(f"  by what they say of themselves: {answer['difference']}")
    counts = {proving.SAME: 0, proving.DIFFERS: 0, proving.FAILS: 0}
    told: set[tuple[str, ...]] = set()
    async for result in proving.compare(mine, other, flag_sets):
        counts[result.state] += 1
        answer["results"].append(
            {"flags": list(result.flags), "canary": result.canary, "state": result.state, "lines": result.lines}
        )
        if result.state != proving.SAME and not quiet and result.flags not in told:
            told.add(result.flags)
            say(f"  {' '.join(result.flags)}: {result.canary} {result.state}" + (":" if result.lines else ""))
            for line in result.lines[:4]:
                say(f"    {line}")
    answer["verdict"] = (
        proving.DIFFERS if counts[proving.DIFFERS] else proving.SAME if counts[proving.SAME] else proving.FAILS
    )
    if not quiet:
        whole = amount(sum(counts.values()), "object")
        say(f"  {whole} of canaries: {counts[proving.SAME]} the same, {counts[proving.DIFFERS]} different, "
            f"{counts[proving.FAILS]} not compiled")  # fmt: skip
    return answer
