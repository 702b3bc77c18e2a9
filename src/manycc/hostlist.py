"""The host list: which machines compile, in one grammar for manycc's entries and distcc's.

::

    host    NAME[:PORT][/SLOTS]  [IPv6][:PORT][/SLOTS]     a node or a distccd; also NAME/SLOTS:PORT
    ssh     [USER]@NAME[/SLOTS][:PROGRAM]                  a distccd that is started there through ssh
    engine  reapi://NAME[:PORT][/INSTANCE][?slots=N&…]     a remote execution engine (engine/address.py)
    here    localhost[/SLOTS]                              this machine's own slots
    options ,lzo ,cpp ,down                                behind a host
    words   --randomize --localslots=N --localslots_cpp=N  about the whole list
            +zeroconf

A host that is named twice counts once, where it stands first, with the larger number of slots: distcc's
users repeat hosts, and distcc gives them nothing more for it.
"""

from __future__ import annotations

import dataclasses
import re
import socket
from dataclasses import dataclass
from typing import Any, Final

from manycc.engine.address import EngineAddress, is_engine, parse_engine
from manycc.errors import ConfigError, shown

DEFAULT_PORT: Final = 3632
MAX_SLOTS: Final = 9999

GRAMMAR: Final = (
    "a host is NAME[:PORT][/SLOTS], [IPv6][:PORT][/SLOTS], or localhost[/SLOTS] for this machine itself; "
    "a remote execution engine is reapi://NAME[:PORT][/INSTANCE][?slots=N], with TLS reapis://…; "
    "distcc's ,lzo ,cpp ,down, [USER]@NAME[/SLOTS][:PROGRAM], --randomize, --localslots=N and --localslots_cpp=N "
    "are understood; hosts are separated by white space, # begins a comment"
)
NO_ZEROCONF: Final = "+zeroconf is not supported: hosts are not looked for in the network, name them in the list"

_WORD = re.compile(r"\S+")
_SLOTS = r"(?:/(?P<{}>[^/:,]*))?"
_ENTRY = re.compile(
    r"(?:\[(?P<ip6>[^\[\]]*)\]|(?P<name>[^:/,\[\]]*))"
    + _SLOTS.format("before")
    + r"(?::(?P<port>[^:/,]*))?"
    + _SLOTS.format("after")
    + r"(?P<options>(?:,[^,/]*)*)"
    + _SLOTS.format("last")
)
_SSH = re.compile(r"(?P<user>[^@]*)@(?P<name>[^:/,]*)" + _SLOTS.format("slots") + r"(?P<path>:[^,]*)?(?P<options>,.*)?")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_PROGRAM = re.compile(r"[A-Za-z0-9_./~+][A-Za-z0-9_./~+-]{0,1023}")
_ZONE = re.compile(r"[A-Za-z0-9._-]{1,32}")
_OPTIONS: Final = ("lzo", "cpp", "down")


@dataclass(frozen=True, slots=True)
class HostSpec:
    """One host of a list.

    ``name`` is what the user calls it: the entry without slot count, options and program; ``address`` is
    what to connect to (no brackets). ``slots`` is None where the host's own offer counts. ``local`` marks
    this machine's own slots: no node, and no port.

    ``lzo`` and ``cpp`` matter for a distccd only: compress, and leave the preprocessing to it. A host that
    is ``down`` is not used. One behind ``ssh`` is reached as ``user`` (empty: whom ssh chooses), and runs
    the distccd ``command`` (empty: the one on its PATH); it has no port. ``engine`` says what there is to know of a
    remote execution engine, of which ``name`` leaves out the options: they may hold secrets.
    """

    name: str
    address: str
    port: int
    slots: int | None = None
    local: bool = False
    lzo: bool = False
    cpp: bool = False
    down: bool = False
    ssh: bool = False
    user: str = ""
    command: str = ""
    engine: EngineAddress | None = None

    def __str__(self) -> str:
        if self.engine is not None:
            return self.name
        text = self.name if self.slots is None else f"{self.name}/{self.slots}"
        text += f":{self.command}" if self.command else ""
        return text + "".join(f",{option}" for option in _OPTIONS if getattr(self, option))

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What two entries for the same host have in common."""
        if self.engine is not None:
            return self.address.lower(), self.port, "engine", f"{self.engine.tls} {self.engine.instance}"
        return self.address.lower(), self.port, f"{self.user}@" if self.ssh else "", self.command


@dataclass(frozen=True, slots=True)
class HostList:
    """A whole list. ``local_slots`` and ``local_cpp_slots`` are None where the list does not say."""

    hosts: tuple[HostSpec, ...] = ()
    randomize: bool = False
    local_slots: int | None = None
    local_cpp_slots: int | None = None
    zeroconf: bool = False

    @property
    def local(self) -> HostSpec | None:
        """The entry for this machine's own slots, if there is one."""
        return next((spec for spec in self.hosts if spec.local), None)

    @property
    def own_slots(self) -> int | None:
        """How many compilers may run here: ``--localslots``, or else what ``localhost/N`` says."""
        if self.local_slots is not None or self.local is None:
            return self.local_slots
        return self.local.slots

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what the list asks for and does not get."""
        return (NO_ZEROCONF,) if self.zeroconf else ()


def parse_list(text: str) -> HostList:
    """Read a host list. Raises ConfigError naming the entry, its place, and the grammar."""
    hosts: dict[tuple[str, int, str, str], HostSpec] = {}
    words: dict[str, Any] = {}
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        for match in _WORD.finditer(line.partition("#")[0]):
            word = match.group()
            try:
                if word.startswith(("--", "+")):
                    words.update([_parse_word(word)])
                else:
                    spec = _parse_host(word)
                    hosts[spec.key] = _merged(hosts[spec.key], spec) if spec.key in hosts else spec
            except ValueError as error:
                column = f"column {match.start() + 1}"
                place = column if len(lines) == 1 else f"line {number}, {column}"
                if is_engine(word):
                    word = word.partition("?")[0]  # the rest may hold secrets
                raise ConfigError(f"host list, {place}: {shown(word)}", str(error), GRAMMAR) from None
    return dataclasses.replace(HostList(tuple(hosts.values())), **words)


def parse_hosts(text: str) -> tuple[HostSpec, ...]:
    """The hosts of a host list. Raises ConfigError as ``parse_list`` does."""
    return parse_list(text).hosts


def _merged(first: HostSpec, again: HostSpec) -> HostSpec:
    slots = None if first.slots is None or again.slots is None else max(first.slots, again.slots)
    return dataclasses.replace(first, slots=slots)


def _parse_word(word: str) -> tuple[str, int | bool | None]:
    """Read a word about the whole list. Raises ValueError."""
    if word == "+zeroconf":
        return "zeroconf", True
    if word == "--randomize":
        return "randomize", True
    name, sign, number = re.fullmatch(r"([^=/]*)([=/]?)(.*)", word, re.DOTALL).groups()  # type: ignore[union-attr]
    field = {"--localslots": "local_slots", "--localslots_cpp": "local_cpp_slots"}.get(name)
    if field is None:
        raise ValueError("this is no host, and no word about the list")
    return field, _number(number, f"slot count of {name}", MAX_SLOTS) if sign else None


def _parse_host(entry: str) -> HostSpec:
    """Read one host. Raises ValueError saying what is wrong with it."""
    if is_engine(entry):
        engine = parse_engine(entry, MAX_SLOTS)
        return HostSpec(engine.name, engine.address, engine.port, engine.slots, engine=engine)
    if "@" in entry:
        return _parse_ssh(entry)
    parts = _ENTRY.fullmatch(entry)
    if parts is None:
        if entry.count(":") > 1 and "[" not in entry:
            raise ValueError("an IPv6 address must stand in brackets")
        raise ValueError("this is no host")
    ip6, name, port_text, option_text = parts.group("ip6", "name", "port", "options")
    options = _read_options(option_text)
    counts = [count for count in parts.group("before", "after", "last") if count is not None]
    if len(counts) > 1:
        raise ValueError("it has more than one slot count")
    port = DEFAULT_PORT if port_text is None else _number(port_text, "port", 65535)
    slots = _number(counts[0], "slot count", MAX_SLOTS) if counts else None
    suffix = "" if port_text is None else f":{port_text}"
    if ip6 is not None:
        address, percent, zone = ip6.partition("%")
        try:
            socket.inet_pton(socket.AF_INET6, address)
        except (OSError, ValueError):
            raise ValueError("what stands in the brackets is no IPv6 address") from None
        if percent and not _ZONE.fullmatch(zone):
            raise ValueError("the zone after % is no interface name")
        return HostSpec(f"[{ip6}]{suffix}", ip6, port, slots, False, *options)
    _check_name(name)
    local = name.lower() == "localhost" and port_text is None and not any(options)
    return HostSpec(name + suffix, name, 0 if local else port, slots, local, *options)


def _parse_ssh(entry: str) -> HostSpec:
    """Read ``[USER]@NAME[/SLOTS][:PROGRAM]``. What is read here becomes words of a command: ssh's and a shell's."""
    parts = _SSH.fullmatch(entry)
    if parts is None:
        raise ValueError("this is no host")
    user, name, count, path, option_text = parts.group("user", "name", "slots", "path", "options")
    if user and not _USER.fullmatch(user):
        raise ValueError("what stands before the @ is no user name")
    _check_name(name)
    command = "" if path is None else path[1:]
    if path is not None and not _PROGRAM.fullmatch(command):
        raise ValueError("what stands behind the : must be the path of a distccd, for an ssh host has no port")
    slots = None if count is None else _number(count, "slot count", MAX_SLOTS)
    options = _read_options(option_text or "")
    return HostSpec(f"{user}@{name}", name, 0, slots, False, *options, True, user, command)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError("this is no host name or address" if name else "the host's name is missing")


def _read_options(text: str) -> tuple[bool, bool, bool]:
    """Read ``,lzo,cpp,down``: which of them are there. Raises ValueError."""
    words = text.split(",")[1:]
    for word in words:
        if word.partition("=")[0] == "auth":
            raise ValueError("authentication with GSSAPI (,auth) is not supported: reach the host through ssh")
        if word not in _OPTIONS:
            raise ValueError(
                f"{shown(word)} is no option of a host; those are ,lzo ,cpp ,down "
                "(and hosts are separated by white space, not by commas)"
            )
    if "cpp" in words and "lzo" not in words:
        raise ValueError(",cpp needs ,lzo as well")
    return "lzo" in words, "cpp" in words, "down" in words


def _number(text: str, what: str, largest: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= largest):
        raise ValueError(f"the {what} must be a number from 1 to {largest}")
    return int(text)
