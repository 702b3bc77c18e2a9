"""``lsdistcc``: which of a number of machines serve compiles.

They are named one by one, or by a pattern with one ``%d`` that counts from 1 until a name is not known.
"""

from __future__ import annotations

import asyncio
import getopt
import ipaddress
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from manycc.cli.output import say
from manycc.errors import WireError
from manycc.hostlist import DEFAULT_PORT
from manycc.wire import distcc as wire

AT_ONCE: Final = 32
MAX_HOSTS: Final = 10_000
_PATTERN: Final = re.compile(r"[^%]*%0?[0-9]?d[^%]*")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_USAGE: Final = """\
Usage: lsdistcc [OPTION]... [PATTERN | HOST...]
Prints the hosts that serve compiles. PATTERN has one %d, which counts from 1 until a name is not known;
it is distcc%d if nothing is given.
  -l      print the time to connect, in milliseconds, after each name
  -n      print addresses in place of names
  -x      print the others, too, marked as ,down
  -tN     stop after N seconds [7]
  -cN     give a connection up after N milliseconds [900]; 0: do not connect
  -kN     give a compile up after N milliseconds [1500]; 0: do not compile
  -mN     pass over addresses that differ from the first in their first N bits [0]
  -gN     names that may be missing from the pattern [0]
  -rN     port [3632]
  -PN     protocol to print for the hosts, 1, 2 (,lzo) or 3 (,lzo,cpp) [1]
  -pNAME  compile with this compiler, to see that it is there
  -d      append this machine's domain to the names
  -v      say why a host is left out
  -hN -oN are accepted; names are looked up as the system does it
"""


@dataclass
class _Options:
    total_s: float = 7.0
    connect_s: float = 0.9
    compile_s: float = 1.5
    bits: int = 0
    missing: int = 0
    port: int = DEFAULT_PORT
    protocol: int = 1
    compiler: str = ""
    latency: bool = False
    addresses: bool = False
    down: bool = False
    domain: bool = False
    verbose: bool = False


class _Result(NamedTuple):
    name: str
    address: str
    """Empty if the name is not known."""
    seconds: float
    why: str
    """Why it is left out; empty if it serves."""


def main(words: Sequence[str]) -> int:
    """Print the hosts. 0 if there is one, 1 if there is none or the command line is wrong."""
    try:
        options, names = _parse(words)
    except (getopt.GetoptError, ValueError) as error:
        say(f"lsdistcc: {error}", sys.stderr)
        print(_USAGE, end="", file=sys.stderr)
        return 1
    if options is None:
        print(_USAGE, end="")
        return 1
    return asyncio.run(_list(options, names))


def _parse(words: Sequence[str]) -> tuple[_Options | None, list[str]]:
    given, names = getopt.gnu_getopt(list(words), "t:h:c:k:m:o:g:r:P:p:lnxdv", ["help"])
    options = _Options()
    for name, value in given:
        match name[1:]:
            case "-help":
                return None, []
            case "t":
                options.total_s = _number(name, value, 86400)
            case "c":
                options.connect_s = _number(name, value, 600_000) / 1000
            case "k":
                options.compile_s = _number(name, value, 600_000) / 1000
            case "m":
                options.bits = _number(name, value, 128)
            case "g":
                options.missing = _number(name, value, MAX_HOSTS)
            case "r":
                options.port = _number(name, value, 65535)
            case "P":
                options.protocol = _number(name, value, 3)
            case "p":
                options.compiler = value
            case "h" | "o":
                _number(name, value, 1_000_000)
            case letter:
                flag = {"l": "latency", "n": "addresses", "x": "down", "d": "domain", "v": "verbose"}[letter]
                setattr(options, flag, True)
    if options.protocol == 0 or options.port == 0:
        raise ValueError("protocol and port begin with 1")
    return options, names or ["distcc%d"]


def _number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= most):
        raise ValueError(f"{name} takes a number up to {most}, not {text!r}")
    return int(text)


async def _list(options: _Options, names: list[str]) -> int:
    found = 0
    first: _Address | None = None
    try:
        async with asyncio.timeout(options.total_s):
            async for result in _results(options, names):
                why = result.why
                if not why and options.bits:
                    address = ipaddress.ip_address(result.address.partition("%")[0])
                    first = first or address
                    if not _near(first, address, options.bits):
                        why = f"{result.address} is in another network than {first}"
                found += not why
                _show(options, result, why)
    except TimeoutError:
        if options.verbose:
            say(f"lsdistcc: stopped after {options.total_s:g} s", sys.stderr)
    return 0 if found else 1


async def _results(options: _Options, names: list[str]) -> AsyncIterator[_Result]:
    """What is known of each host, in order."""
    if len(names) == 1 and _PATTERN.fullmatch(names[0]):
        pattern, missing = names[0], 0
        for begin in range(1, MAX_HOSTS, AT_ONCE):
            batch = [pattern % number for number in range(begin, begin + AT_ONCE)]
            for result in await asyncio.gather(*(_look(options, name) for name in batch)):
                missing += not result.address
                if missing > options.missing:
                    return
                yield result
    else:
        for begin in range(0, len(names), AT_ONCE):
            for result in await asyncio.gather(*(_look(options, name) for name in names[begin : begin + AT_ONCE])):
                yield result


async def _look(options: _Options, name: str) -> _Result:
    if options.domain:
        name += "." + socket.getfqdn().partition(".")[2]
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(name, options.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return _Result(name, "", 0.0, "the name is not known")
    infos.sort(key=lambda info: info[0] != socket.AF_INET)
    address = str(infos[0][4][0])
    if not options.connect_s:
        return _Result(name, address, 0.0, "")
    begun = time.monotonic()
    try:
        async with asyncio.timeout(options.connect_s):
            reader, writer = await asyncio.open_connection(address, options.port)
    except TimeoutError:
        return _Result(name, address, 0.0, "it does not answer")
    except OSError as error:
        return _Result(name, address, 0.0, error.strerror or str(error))
    seconds = time.monotonic() - begun
    why = ""
    try:
        if options.compiler and options.compile_s:
            why = await _compile(options, reader, writer)
    finally:
        writer.close()
    return _Result(name, address, seconds, why)


async def _compile(options: _Options, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Why the host does not compile; "" if it does. Protocol 3 differs from 2 in what precedes the compile only."""
    version = min(options.protocol, 2)
    replies = wire.ReplyReader(version)
    try:
        writer.write(wire.pack_request(version, [options.compiler, "-c", "a.c", "-o", "a.o"], b"int a;\n"))
        async with asyncio.timeout(options.compile_s):
            while replies.done is None:
                data = await reader.read(65536)
                if not data:
                    return "it hung up on a compile"
                replies.feed(data)
    except TimeoutError:
        return "its compile takes too long"
    except (OSError, WireError) as error:
        return str(error)
    return "" if replies.done.status == 0 else f"it has no working {options.compiler}"


def _near(
    first: ipaddress.IPv4Address | ipaddress.IPv6Address,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
    bits: int,
) -> bool:
    shift = max(0, first.max_prefixlen - bits)
    return first.version == other.version and int(first) >> shift == int(other) >> shift


def _show(options: _Options, result: _Result, why: str) -> None:
    if why and options.verbose:
        say(f"lsdistcc: {result.name}: {why}", sys.stderr)
    if why and not (options.down and result.address):
        return
    text = result.address if options.addresses else result.name
    if ":" in text:
        text = f"[{text}]"
    text += f":{options.port}" if options.port != DEFAULT_PORT else ""
    text += {1: "", 2: ",lzo", 3: ",lzo,cpp"}[options.protocol] + (",down" if why else "")
    say(f"{text} {result.seconds * 1000:.0f}" if options.latency else text)
    sys.stdout.flush()
