"""A pump request: the client's own files, at the client's own paths.

Stock servers write the files below a folder and change the command accordingly; here they become the tree of
a sealed job, in which all paths are those of the client. The command is run as it was sent, except that one
which asks for no depfile gets one. Nothing of a request is written on this machine under a name that it gives.

Folders of the system are not sent. Clients say by a link that climbs out of their root (``/usr/include`` →
``../../../../../../usr/include``) that the server's own are meant, and do so for all compilers they have met. A job
sees those that its own compiler searches by itself, whatever the links say; to anywhere else none may lead.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from manycc.command.options import Action
from manycc.command.outputs import NULL
from manycc.command.parse import Command
from manycc.command.table import TABLES
from manycc.job import FILE, LINK
from manycc.node import tree
from manycc.node.admission import SystemFolders
from manycc.node.depfile import names_in
from manycc.node.distcc import jobs
from manycc.node.distcc.jobs import Job
from manycc.node.distcc.system import SystemHeaders, is_timeless
from manycc.node.outputs import Produced
from manycc.node.toolchains import Served
from manycc.node.tree import Entry, refused
from manycc.store.store import Store
from manycc.wire import distcc

MAX_LINKS: Final = 2000


def from_files(
    request: distcc.Request,
    served: Served,
    store: Store,
    system: SystemFolders,
    headers: SystemHeaders,
    room: int = jobs.MAX_SOURCE,
) -> Job:
    """The job of a request of version 3; its files, of at most ``room`` bytes together, are put into the store.

    Raises BackendRefused, WireError, StoreError.
    """
    cwd = request.cwd
    fault = tree.path_fault(cwd)
    if fault:
        raise refused(fault)
    argv = [jobs.driver_word(request.argv[0], served), *request.argv[1:]]
    command = jobs.command_of(argv, cwd, served)
    asked = _read(argv, served)
    output, depfile = _outputs(command, asked)
    if not depfile and not asked.recorded:
        # What a unit reads must be known if its result is to be kept.
        depfile = f"{command.output if output else os.path.basename(command.source)}.d"
        argv[1:1] = ["-MMD" if asked.target else "-MD", "-MF", depfile]
        command = jobs.command_of(argv, cwd, served)
    entries, timeless = _entries(request, served, store, system, room)
    _check_reads(command, cwd, entries)
    timeless = timeless and is_timeless(os.fsencode("\0".join(argv)))
    plan = jobs.admit(argv, cwd, served, entries, command, system, cached=timeless)
    links = plan.tree.links()
    listed = jobs.physical(depfile, cwd, links) if depfile else ""

    def lasting(produced: Sequence[Produced]) -> bool:
        """No header of the system that it read asks for the time."""
        text = next((one.data for one in produced if one.path == listed), None)
        if text is None or not asked.lists_system:
            return False
        read = [jobs.physical(os.fsdecode(name), cwd, links) for name in names_in(text)]
        return headers.are_timeless(path for path in read if _is_in(path, system.paths))

    wanted = asked.wanted or asked.target
    return Job(
        dataclasses.replace(plan, lasting=lasting),
        command.source,
        jobs.physical(output, cwd, links) if output else "",
        listed if wanted else "",
    )


class _Asked(NamedTuple):
    """What a command says of depfiles. ``wanted``: it writes one, in which headers of the system are, too, if
    ``lists_system``; ``target``: it names a target, as clients do that want one which the command does not
    ask for ($DEPENDENCIES_OUTPUT). ``recorded``: the command itself becomes part of the object."""

    wanted: bool
    lists_system: bool
    target: bool
    recorded: bool


def _read(argv: Sequence[str], served: Served) -> _Asked:
    find = TABLES[served.own.kind].find
    options: set[str] = set()
    recorded = False
    rest = iter(argv[1:])
    for argument in rest:
        match = find(argument) if argument.startswith("-") else None
        if match is None:
            continue
        value = next(rest, "") if match.value is None else match.value
        action = match.option.action
        recorded = recorded or action is Action.RECORD_SWITCHES
        if action in (Action.FOR_PREPROCESSOR, Action.TO_PREPROCESSOR):
            options.update(value.split(","))
        else:
            options.add(match.option.name)
    wanted = not options.isdisjoint(("-MD", "-MMD"))
    target = not options.isdisjoint(("-MT", "-MQ"))
    lists_system = "-MMD" not in options and not (target and not wanted)
    return _Asked(wanted, lists_system, target, recorded)


def _outputs(command: Command, asked: _Asked) -> tuple[str, str]:
    """The object and the depfile, as spelled. Raises BackendRefused if there are more files."""
    output = "" if command.output == NULL else command.output
    others = [path for path in command.outputs if path != output]
    depfile = others.pop() if asked.wanted and others else ""
    if others or command.stems:
        raise refused(f"it also writes {(*others, *command.stems)[0]}, which distcc's protocol does not bring back")
    return output, depfile


def _entries(
    request: distcc.Request, served: Served, store: Store, system: SystemFolders, room: int
) -> tuple[list[Entry], bool]:
    """What was sent; and whether none of it asks for the time."""
    entries: dict[str, Entry] = {}
    links: dict[str, str] = {}
    timeless = True
    room = jobs.room_for(store, room)
    for item in request.entries:
        path = _plain(item.path)
        fault = tree.path_fault(path)
        if fault:
            raise refused(fault)
        if path in entries:
            raise refused(f"{path} was sent twice")
        if item.target is None:
            text = distcc.expand(request.version, item.body, room)
            room -= len(text)
            timeless = timeless and is_timeless(text)
            entries[path] = Entry(FILE, path, store.add_bytes(text), len(text))
        elif not _is_given(path, item.target, served, system):
            links[path] = item.target
            entries[path] = Entry(LINK, path, target=item.target)
    if len(links) > MAX_LINKS:
        raise refused(f"{len(links)} links, where at most {MAX_LINKS} are taken")
    for path in links:
        tree.resolve(path, links)
    return list(entries.values()), timeless


def _is_given(path: str, target: str, served: Served, system: SystemFolders) -> bool:
    """Whether a link needs nothing, since what it means is here already. Raises BackendRefused if it leads out."""
    place, escapes = _meant(path, target)
    if not escapes:
        links = served.links | {way.path: way.target for way in system.ways if way.kind == LINK}
        return path in links and tree.resolve(path, links) == tree.resolve(place, links)
    if place != path:
        raise refused(f"the link {path} leads out of what was sent, to {place}")
    return True


def _meant(path: str, target: str) -> tuple[str, bool]:
    """Where a link points, by its text alone, and whether it climbs above the root on its way."""
    parts = [] if target.startswith("/") else path.split("/")[1:-1]
    escapes = False
    for name in target.split("/"):
        if name == "..":
            escapes = escapes or not parts
            del parts[-1:]
        elif name not in ("", "."):
            parts.append(name)
    return "/" + "/".join(parts), escapes


def _check_reads(command: Command, cwd: str, entries: Sequence[Entry]) -> None:
    """Refuse a command that reads files by options, unless they were sent."""
    sent = {entry.path for entry in entries}
    for name in command.reads:
        if os.path.normpath(os.path.join(cwd, name)) not in sent:
            raise refused(f"it reads {name}, which was not sent")


def _plain(path: str) -> str:
    """A path without what means nothing; ``..`` stays, for it may."""
    if not path.startswith("/"):
        return path
    return "/" + "/".join(name for name in path.split("/") if name not in ("", "."))


def _is_in(path: str, folders: Sequence[str]) -> bool:
    return any(path.startswith(folder + "/") for folder in folders)
