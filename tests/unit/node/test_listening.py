"""The sockets of a node, and who holds a port that is taken."""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from manycc.errors import ListenError
from manycc.node import holder, listening
from manycc.node.listening import open_sockets


def has_ipv6() -> bool:
    """Whether there is a loopback address of it."""
    table = Path("/proc/net/if_inet6")
    return table.exists() and "00000000000000000000000000000001" in table.read_text()


@pytest.mark.parametrize("listen", ["*", ""])
def test_every_address_on_one_port(listen: str) -> None:
    with ExitStack() as opened:
        sockets = [opened.enter_context(one) for one in open_sockets(listen, 0)]
        assert {one.family for one in sockets} == (
            {socket.AF_INET, socket.AF_INET6} if has_ipv6() else {socket.AF_INET}
        )
        (port,) = {one.getsockname()[1] for one in sockets}
        socket.create_connection(("127.0.0.1", port)).close()


def test_one_address_only() -> None:
    (one,) = open_sockets("127.0.0.3", 0)
    with one:
        assert one.getsockname()[0] == "127.0.0.3"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.4", one.getsockname()[1]))


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("192.0.2.1", "--listen takes an address"),
        ("no.such.host.invalid", "no.such.host.invalid"),
        ("a" * 300, "no name"),
    ],
)
def test_addresses_that_are_none_of_ours(listen: str, words: str) -> None:
    with pytest.raises(ListenError) as caught:
        open_sockets(listen, 0)
    assert words in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_in_use_names_its_holder(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if address == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    (held,) = open_sockets(address, 0)
    with held:
        port = held.getsockname()[1]
        assert [(found.address, found.uid) for found in holder.listeners(port)] == [(address, os.geteuid())]
        with pytest.raises(ListenError, match=rf"Address already in use: .+ \(process {os.getpid()}\) listens there"):
            open_sockets(address, port)
        monkeypatch.setattr(holder, "_processes_with", lambda _: iter(()))
        user = pwd.getpwuid(os.geteuid()).pw_name
        with pytest.raises(ListenError, match=f"a process of user {user}, which only root can see"):
            open_sockets(address, port)
        monkeypatch.setattr(listening, "holder", lambda _: (_ for _ in ()).throw(OSError("no /proc")))
        with pytest.raises(ListenError, match="already in use"):
            open_sockets(address, port)
    assert holder.holder(port) == ""
