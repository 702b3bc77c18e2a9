"""What a service manager hands over and is told; a store in a folder that is everybody's."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from manycc.daemon import serve, systemd
from manycc.daemon.settings import NodeSettings
from manycc.errors import ConfigError


def test_nothing_was_passed_to_another_process() -> None:
    assert systemd.sockets_passed({}) == []
    assert systemd.sockets_passed({"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "1"}) == []


@pytest.mark.parametrize("count", ["", "0", "-1", "x", "65", "9" * 30, "\u0661"])
def test_a_count_that_is_none(count: str) -> None:
    with pytest.raises(ConfigError, match="LISTEN_FDS"):
        systemd.sockets_passed({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})


@pytest.mark.parametrize("kind", ["connected", "datagram", "unix"])
def test_a_socket_that_does_not_listen_for_tcp(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM) as one:
        monkeypatch.setattr(systemd, "FIRST_FD", os.dup(one.fileno()))
        with pytest.raises(ConfigError, match="is no listening TCP socket"):
            systemd.sockets_passed({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})


def test_telling_goes_to_the_socket_and_nowhere_else(tmp_path: Path) -> None:
    for address in (str(tmp_path / "notify"), f"@manycc-test-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address.replace("@", "\0"))
            manager.settimeout(5)
            systemd.notify({"NOTIFY_SOCKET": address}, "READY=1", "STATUS=ready")
            assert manager.recv(100) == b"READY=1\nSTATUS=ready"
    systemd.notify({}, "READY=1")
    systemd.notify({"NOTIFY_SOCKET": str(tmp_path / "none")}, "READY=1")
    systemd.notify({"NOTIFY_SOCKET": "vsock:2:1"}, "READY=1")


@pytest.mark.parametrize("trap", ["link", "file", "open to others", "another's"])
def test_a_store_in_a_temporary_folder_must_be_ours(tmp_path: Path, trap: str) -> None:
    settings = NodeSettings({"tmpdir": str(tmp_path)})
    store = settings.store({})
    serve._check_temporary(settings, store)
    serve._check_temporary(settings, store)  # also when it is there already
    assert os.stat(store).st_mode & 0o777 == 0o700
    if trap == "open to others":
        os.chmod(store, 0o777)
    elif trap == "another's":
        if os.geteuid() != 0:
            pytest.skip("only root can make another's folder")
        os.chown(store, 54321, 54321)
    else:
        os.rmdir(store)
        if trap == "link":
            (tmp_path / "elsewhere").mkdir()
            os.symlink(tmp_path / "elsewhere", store)
        else:
            Path(store).write_text("")
    with pytest.raises(ConfigError, match="not to be trusted"):
        serve._check_temporary(settings, store)
