"""Who holds a port of this machine: read from /proc, as far as that tells."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from collections.abc import Iterator
from typing import Final, NamedTuple

_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTEN: Final = "0A"  # TCP_LISTEN, include/net/tcp_states.h


class Listener(NamedTuple):
    """A listening socket: its address, the user it belongs to, and its inode."""

    address: str
    uid: int
    inode: str


def listeners(port: int) -> list[Listener]:
    """The sockets of this network namespace that listen on a TCP port."""
    found: list[Listener] = []
    for table in _TABLES:
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            next(file, "")
            for line in file:
                fields = line.split()
                address, _, number = fields[1].partition(":")
                if fields[3] == _LISTEN and int(number, 16) == port:
                    found.append(Listener(_address(address), int(fields[7]), fields[9]))
    return found


def holder(port: int) -> str:
    """Who listens on a port, in words: ``distccd (process 123)``; empty if nobody does."""
    names: list[str] = []
    for listener in listeners(port):
        processes = sorted(_processes_with(f"socket:[{listener.inode}]"))
        if processes:
            pid = processes[0]
            name = f"{_name_of(pid)} (process {pid})"
        else:
            name = f"a process of user {_user(listener.uid)}, which only root can see"
        if name not in names:
            names.append(name)
    return " and ".join(names)


def _address(text: str) -> str:
    """An address as the kernel prints it: words of four bytes in this machine's order."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    packed = b"".join(words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _processes_with(target: str) -> Iterator[int]:
    """The processes that have something open, among those that may be looked at."""
    with os.scandir("/proc") as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError), os.scandir(f"/proc/{entry.name}/fd") as descriptors:
                for descriptor in descriptors:
                    with contextlib.suppress(OSError):
                        if os.readlink(descriptor.path) == target:
                            yield int(entry.name)
                            break


def _name_of(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        words = [os.path.basename(word) for word in file.read(4096).decode(errors="replace").split("\0")]
        # A script is known by its own name, not by its interpreter's.
        for word in words[:3]:
            if word and not word.startswith("-") and not word.startswith("python"):
                return _printable(word)
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return _printable(file.read().strip())
    return "a process"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:60])


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
