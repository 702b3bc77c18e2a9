"""Debian's distcc as a peer: its pump mode made to work, and a tap that hears who speaks what."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sources

DISTCC: Final = "/usr/bin/distcc"
PYTHON_HEADER: Final = os.path.join(sysconfig.get_path("include"), "Python.h")
"""What repairing pump mode takes."""
START_S: Final = 30.0
_DISTCC_HELLO: Final = b"DIST"
_HELLO_SIZE: Final = 12


class Tap:
    """Forwards connections to a port of the loopback and notes in which protocol each one began."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.spoken: list[str] = []
        """One word a connection: ``DIST1`` to ``DIST3``, or ``native``, or ``nothing``."""
        self._threads: list[threading.Thread] = []
        self._ends: set[socket.socket] = set()
        self._start(self._accept)

    def close(self) -> None:
        """Cut everything and stop."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._ends):
            _cut(end)
        for thread in self._threads:
            thread.join(START_S)

    def _start(self, what: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), START_S)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._ends |= {client, server}
            self._start(self._serve, client, server)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        begin = b""
        with contextlib.suppress(OSError):
            while len(begin) < _HELLO_SIZE and (data := client.recv(_HELLO_SIZE - len(begin))):
                begin += data
            server.sendall(begin)
        self.spoken.append(_protocol(begin))
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join()
        self._ends -= {client, server}
        client.close()
        server.close()


def _protocol(begin: bytes) -> str:
    if not begin:
        return "nothing"
    return f"DIST{int(begin[4:12], 16)}" if begin.startswith(_DISTCC_HELLO) else "native"


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(256 * 1024):
            sink.sendall(data)
    _cut(source)
    _cut(sink)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


# -- pump mode

# What configure would find on any Linux with glibc; the rest has fallbacks in the sources.
_CONFIG: Final = """
#define HAVE_ASPRINTF 1
#define HAVE_C99_VSNPRINTF 1
#define HAVE_DECL_ASPRINTF 1
#define HAVE_DECL_SNPRINTF 1
#define HAVE_DECL_VASPRINTF 1
#define HAVE_DECL_VSNPRINTF 1
#define HAVE_GETCWD 1
#define HAVE_GETLINE 1
#define HAVE_GETTIMEOFDAY 1
#define HAVE_HSTRERROR 1
#define HAVE_IN_ADDR_T 1
#define HAVE_IN_PORT_T 1
#define HAVE_MKDTEMP 1
#define HAVE_SENDFILE 1
#define HAVE_SNPRINTF 1
#define HAVE_SOCKADDR_STORAGE 1
#define HAVE_STRSEP 1
#define HAVE_SYS_MMAN_H 1
#define HAVE_SYS_RESOURCE_H 1
#define HAVE_SYS_SELECT_H 1
#define HAVE_SYS_SENDFILE_H 1
#define HAVE_VARARG_MACROS 1
#define HAVE_VASPRINTF 1
#define HAVE_VA_COPY 1
#define HAVE_VSNPRINTF 1
#define GNU_HOST "linux"
#define PACKAGE_VERSION "3.4"
#define SYSCONFDIR "/etc"
#define LIBDIR "/usr/lib"
"""
_PARTS: Final = (
    "argutil", "bulk", "cleanup", "clinet", "clirpc", "compress", "emaillog", "filename", "include_server_if", "io",
    "netutil", "pump", "rpc", "sendfile", "snprintf", "srvrpc", "state", "tempfile", "timeval", "trace", "util",
)  # fmt: skip


def include_server() -> Path:
    """Upstream's include server, repaired for today's Python; built once and kept with the downloaded sources.

    Its C extension takes lengths as int, which Python has refused since 3.10: pump mode as packaged gives up with
    its first request. Nothing else is changed.
    """
    kept = Path(sources.cache_dir(), f"distcc-include-server-{sys.implementation.cache_tag}")
    program = kept / "include_server" / "include_server.py"
    if program.exists():
        return program
    made = Path(f"{kept}.{os.getpid()}")
    sources.unpack("distcc", str(made))
    try:
        module = made / "include_server" / "c_extensions" / "distcc_pump_c_extensions_module.c"
        text = module.read_text()
        for name in ("in_len", "len"):
            text = text.replace(f"  int {name};\n", f"  Py_ssize_t {name};\n")
        module.write_text("#define PY_SSIZE_T_CLEAN\n" + text)
        (made / "src" / "config.h").write_text(_CONFIG)
        # fmt: off
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O1", "-w", "-D_GNU_SOURCE", "-Isrc", "-Ilzo",
             f"-I{os.path.dirname(PYTHON_HEADER)}", *(f"src/{part}.c" for part in _PARTS), "lzo/minilzo.c", str(module),
             "-o", "include_server/distcc_pump_c_extensions.so"],
            cwd=made, check=True,
        )
        # fmt: on
        with contextlib.suppress(OSError):  # another run was faster
            made.rename(kept)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return program


@contextmanager
def pump(folder: Path) -> Iterator[dict[str, str]]:
    """An include server; yields what tells Debian's client of it. It must not outlive a change of the sources."""
    program = include_server()
    folder.mkdir(parents=True, exist_ok=True)
    address, number = folder / "socket", folder / "pid"
    with (folder / "log").open("ab") as log:
        subprocess.run(
            [sys.executable, str(program), "--port", str(address), "--pid_file", str(number), "-d1"],
            env={**os.environ, "PYTHONOPTIMIZE": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(program.parent)},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, timeout=START_S,
        )  # fmt: skip
    pid = int(number.read_text())
    try:
        yield {"INCLUDE_SERVER_PORT": str(address)}
    finally:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)  # it removes its folder in /dev/shm, too
            if not select.select([descriptor], [], [], START_S)[0]:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
