"""How an engine is written in a host list.

::

    reapi://NAME[:PORT][/INSTANCE][?OPTION&OPTION…]      reapis://… for TLS

    slots=N                 how many jobs at once (default 16)
    toolchain=auto          how its workers get the compiler: "input" (it goes along with the job, once),
                            "property" (workers that have it, by the platform property toolchain=FINGERPRINT),
                            "auto": whichever a trial shows to work, property first, if the worker is manycc's
    property=NAME=VALUE     a platform property of every job; may be repeated
    compress=on             whether contents go compressed where the engine offers that; or off
    ca=FILE                 the authorities whose certificates count, instead of the system's
    cert=FILE  key=FILE     this client's own certificate (both or none)
    token-file=FILE         a bearer token, read anew when it changes
    token-command=COMMAND   what prints a bearer token; words as a shell would split them, run without a shell
    header=NAME:VALUE       sent with every call; may be repeated

Values are percent-encoded as in any URL: a space, which would end the entry, is %20. An address that is given on a
command line is seen by whoever lists processes: what is secret belongs into a file (token-file=), or into a setting.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from manycc.errors import shown

DEFAULT_PORT: Final = 8980
USUAL_SLOTS: Final = 16
SCHEMES: Final = ("reapi://", "reapis://")
AUTO: Final = "auto"
INPUT: Final = "input"
PROPERTY: Final = "property"
MAX_VALUE: Final = 4096
MAX_OPTIONS: Final = 64

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?")
_HEADER = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_PROPERTY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}")
_INSTANCE = re.compile(r"[A-Za-z0-9._~@+-]+(?:/[A-Za-z0-9._~@+-]+)*")
_RESERVED: Final = (
    ".", "..", "blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs",
)  # fmt: skip
"""What the API itself puts behind an instance's name, and what is no name."""
_FILES: Final = ("ca", "cert", "key", "token-file")


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """One engine, as read. Files' names are absolute; empty where they are not given."""

    name: str
    """What the user calls it: the address without its options, which may hold secrets."""
    address: str
    port: int
    instance: str = ""
    tls: bool = False
    slots: int = USUAL_SLOTS
    toolchain: str = AUTO
    properties: tuple[tuple[str, str], ...] = ()
    compress: bool = True
    ca: str = ""
    cert: str = ""
    key: str = ""
    token_file: str = ""
    token_command: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def target(self) -> str:
        """What a call says it is for: host and port."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def is_engine(entry: str) -> bool:
    """Whether an entry of a host list names an engine."""
    return entry.startswith(SCHEMES)


def parse_engine(entry: str, most_slots: int) -> EngineAddress:
    """Read one. Raises ValueError saying what is wrong with it."""
    try:
        parts = urlsplit(entry)
    except ValueError:
        raise ValueError("what stands in the brackets is no IPv6 address") from None
    if "@" in parts.netloc:
        raise ValueError("there is no user in an engine's address: tokens are named by token-file= or token-command=")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port must be a number from 1 to 65535") from None
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("the port must be a number from 1 to 65535")
    address = parts.hostname or ""
    _check_address(address, "[" in parts.netloc)
    instance = unquote(parts.path.removeprefix("/")).rstrip("/")
    if instance and (not _INSTANCE.fullmatch(instance) or any(word in _RESERVED for word in instance.split("/"))):
        raise ValueError(f"{shown(instance)} is no name of an instance")
    if parts.fragment:
        raise ValueError("there is no # in an engine's address")
    tls = parts.scheme == "reapis"
    name = f"{parts.scheme}://{parts.netloc}" + (f"/{instance}" if instance else "")
    found = EngineAddress(name, address, port or DEFAULT_PORT, instance, tls, **_options(parts.query, most_slots))
    if not tls and (found.ca or found.cert):
        raise ValueError("ca= and cert= are for TLS: write reapis://")
    if bool(found.cert) != bool(found.key):
        raise ValueError("cert= and key= are given both, or none")
    if found.token_file and found.token_command:
        raise ValueError("a token comes from token-file= or from token-command=, not from both")
    secret = found.token_file or found.token_command or any(header == "authorization" for header, _ in found.headers)
    if secret and not tls and not _is_loopback(address):
        raise ValueError("a token would be sent in clear text: write reapis://")
    return found


def _check_address(address: str, bracketed: bool) -> None:
    if not bracketed:
        if not _NAME.fullmatch(address):
            raise ValueError("this is no host name or address" if address else "the engine's host name is missing")
        return
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        raise ValueError("what stands in the brackets is no IPv6 address") from None


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def _options(query: str, most_slots: int) -> dict[str, Any]:
    """The options as fields of an EngineAddress. Raises ValueError."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=MAX_OPTIONS)
    except ValueError:
        raise ValueError("what stands behind the ? must be OPTION=VALUE&OPTION=VALUE…") from None
    fields: dict[str, Any] = {}
    headers: list[tuple[str, str]] = []
    properties: list[tuple[str, str]] = []
    for option, value in pairs:
        if len(value) > MAX_VALUE or not value.isprintable():
            raise ValueError(f"the value of {shown(option)} is too long, or cannot be printed")
        if option == "header":
            headers.append(_header(value))
            continue
        if option == "property":
            name, sign, word = value.partition("=")
            if not sign or not _PROPERTY.fullmatch(name) or name == "toolchain":
                raise ValueError("property= must be followed by NAME=VALUE; toolchain is set by manycc itself")
            properties.append((name, word))
            continue
        field = option.replace("-", "_")
        if field in fields:
            raise ValueError(f"{shown(option)} is given twice")
        fields[field] = _value(option, value, most_slots)
    return {**fields, "headers": tuple(headers), "properties": tuple(sorted(properties))}


def _value(option: str, value: str, most_slots: int) -> object:
    if option == "slots":
        if not (value.isascii() and value.isdigit() and len(value) <= 6 and 1 <= int(value) <= most_slots):
            raise ValueError(f"the slots must be a number from 1 to {most_slots}")
        return int(value)
    if option == "toolchain":
        if value not in (AUTO, INPUT, PROPERTY):
            raise ValueError("toolchain= is auto, input or property")
        return value
    if option == "compress":
        if value not in ("on", "off"):
            raise ValueError("compress= is on or off")
        return value == "on"
    if option in _FILES:
        if not value.startswith("/"):
            raise ValueError(f"{option}= must name a file by its absolute path")
        return value
    if option == "token-command":
        if not value.strip():
            raise ValueError("token-command= names no command")
        return value
    raise ValueError(f"{shown(option)} is no option of an engine")


def _header(text: str) -> tuple[str, str]:
    name, sign, value = text.partition(":")
    name = name.strip().lower()
    if not sign or not _HEADER.fullmatch(name) or name.startswith("grpc-") or name.endswith("-bin"):
        raise ValueError("header= must be followed by NAME:VALUE")
    if not value.isascii():
        raise ValueError(f"the value of the header {name} is not ASCII")
    return name, value.strip()
