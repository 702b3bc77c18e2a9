"""Whole machines for tests, made of namespaces: own files, processes, network and name each, one switch between them.

A machine sees the files of this one, and what it writes, wherever that is, is its own and gone with it. Every
process in it ends with it, and all machines end when the test's process does. Needs root.

::

    with lab(folder) as rack:
        pi = rack.machine("pi", "192.168.0.100")
        with pi.shell("root") as shell:
            said, failed = shell.type("hostname")
"""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from manycc.testing.requirements import lacking, need, need_root

START_S: Final = 60.0
USER: Final = "you"
"""An ordinary user that every machine has."""
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SWITCH: Final = "switch"

# Ends when its input does, so with the test's process; bash, since the first process of a machine must reap.
_STAY: Final = "echo ready; while read -r _; do :; done"
_RACK: Final = f"""
set -e
mount -t tmpfs tmpfs "$1"
ip link set lo up
ip link add name {SWITCH} type bridge
ip link set {SWITCH} up
{_STAY}
"""
_MACHINE: Final = f"""
set -e
cd "$1"; mkdir -p upper work root
mount -t overlay overlay -o "lowerdir=$2,upperdir=upper,workdir=work" root
cd root
mount --rbind /dev dev
mount --rbind /sys sys
mount -t proc proc proc
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir run/old run/lock
pivot_root . run/old
cd /
umount -l run/old
rmdir run/old
hostname "$3"
[ "$2" != / ] || rm -rf /usr/local/bin/manycc /usr/local/bin/manycc-cli /opt/manycc # this machine's own
ip link set lo up
id {USER} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {USER}
{_STAY}
"""
# One block of commands after another from a descriptor, and behind the output of each what failed, between NULs.
_SHELL: Final = r"""
cd; set -o pipefail -E
_note() { [[ $1 == 'eval "$_block"'* ]] || failed+="$1"$'\1'; }
trap '_note "$BASH_COMMAND"' ERR
while IFS= read -r -d "" _block <&FD; do
    failed=
    eval "$_block" </dev/null 2>&1 FD<&-
    printf '\0%s\0' "$failed"
done
"""


class Shell:
    """A shell in a machine, into which commands are typed. What they set and export stays set."""

    def __init__(self, command: Sequence[str]) -> None:
        read, write = os.pipe()
        self._process = subprocess.Popen(
            [*command, "bash", "-c", _SHELL.replace("FD", str(read))],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(read,),
        )  # fmt: skip
        os.close(read)
        self._write = write

    def type(self, block: str, limit_s: float = 300.0) -> tuple[str, list[str]]:
        """Run commands: what they said on stdout and stderr, and those that failed. Raises TimeoutError."""
        os.write(self._write, block.encode() + b"\0")
        assert self._process.stdout is not None
        said, end = b"", time.monotonic() + limit_s
        while said.count(b"\0") < 2:
            if not select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                self._process.kill()
                raise TimeoutError(f"{block}\n{said.decode(errors='replace')}")
            got = os.read(self._process.stdout.fileno(), 65536)
            if not got:
                raise AssertionError(f"the shell ended: {block}\n{said.decode(errors='replace')}")
            said += got
        text, failed, _ = said.decode(errors="replace").split("\0")
        return text, [command for command in failed.split("\1") if command]

    def close(self) -> None:
        """End it; what it started in the background goes on."""
        os.close(self._write)
        self._process.wait(START_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Machine:
    """One machine. ``files`` is the folder of what was written in it, as overlayfs keeps it."""

    def __init__(self, process: subprocess.Popen[bytes], files: str) -> None:
        self.files = files
        self._process = process
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        self.pid = int(child)

    def enter(self, user: str) -> list[str]:
        """The beginning of a command that runs in it, with nothing of the environment outside."""
        inside = ["nsenter", "-t", str(self.pid), "-m", "-u", "-n", "-i", "-p", "--"]
        pip = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("PIP_")]
        home = "/root" if user == "root" else f"/home/{user}"
        env = ["env", "-i", f"HOME={home}", f"PATH={PATH}", f"USER={user}", "LC_ALL=C.UTF-8", *pip]
        return [*inside, "setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *env]

    @contextmanager
    def shell(self, user: str) -> Iterator[Shell]:
        """A shell of a user."""
        shell = Shell(self.enter(user))
        try:
            yield shell
        finally:
            shell.close()

    def unpack(self, archive: bytes, folder: str, user: str) -> None:
        """Lay a tar archive out in a folder, which is made."""
        self.run(user, f"mkdir -p {shlex.quote(folder)} && tar xf - -C {shlex.quote(folder)} --no-same-owner", archive)

    def run(self, user: str, script: str, said: bytes = b"") -> None:
        """Run a script that must succeed, with what its standard input says."""
        subprocess.run([*self.enter(user), "sh", "-c", script], input=said, check=True)

    def close(self) -> None:
        """End it, and all that runs in it."""
        _end(self._process)


class Rack:
    """What ``lab`` makes: the place of machines, and the switch they are plugged into."""

    def __init__(self, stack: ExitStack, process: subprocess.Popen[bytes], folder: str) -> None:
        self._stack = stack
        self._enter = ["nsenter", "-t", str(process.pid), "-m", "-n", "--"]
        self._folder = folder
        self._count = 0

    def machine(self, name: str, address: str = "", layers: Sequence[str] = ()) -> Machine:
        """Start a machine. Without an address it is on this machine's own network.

        ``layers`` are ``files`` of machines that have ended: what was installed there, is here.
        """
        self._count += 1
        files = f"{self._folder}/{self._count}"
        enter = self._enter if address else [*self._enter[:-2], "--"]
        # fmt: off
        process = _start([
            *enter, "unshare", "--mount", "--uts", "--ipc", "--pid", *(["--net"] if address else []), "--fork",
            "--kill-child", "bash", "-c", f'mkdir "$1"; {_MACHINE}', "machine", files, ":".join([*layers, "/"]), name,
        ])
        # fmt: on
        self._stack.callback(_end, process)
        machine = Machine(process, f"{files}/upper")
        if address:
            self._plug(machine, address)
        return machine

    def _plug(self, machine: Machine, address: str) -> None:
        port = f"port{self._count}"
        inside = ["nsenter", "-t", str(machine.pid), "-n", "--"]
        for command in (
            [*self._enter, "ip", "link", "add", "name", port, "type", "veth",
             "peer", "name", "eth0", "netns", str(machine.pid)],
            [*self._enter, "ip", "link", "set", port, "master", SWITCH, "up"],
            [*inside, "ip", "address", "add", f"{address}/24", "dev", "eth0"],
            [*inside, "ip", "link", "set", "eth0", "up"],
        ):  # fmt: skip
            subprocess.run(command, check=True)


@contextmanager
def lab(folder: str) -> Iterator[Rack]:
    """A place for machines; ``folder`` must exist, and nothing is written to it. All of it ends with the context."""
    need_root("make namespaces")
    need("ip", "nsenter", "unshare", "setpriv", "/bin/bash")
    with ExitStack() as stack:
        try:
            process = _start(["unshare", "--mount", "--net", "bash", "-c", _RACK, "rack", folder])
        except RuntimeError:
            lacking("namespaces of mounts and networks, and a bridge in them")
        stack.callback(_end, process)
        yield Rack(stack, process, folder)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        _end(process)
        raise RuntimeError(f"it did not start: {shlex.join(command[:12])} …")
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(START_S)
    process.stdout.close()
