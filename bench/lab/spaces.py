"""A host's namespaces: its own network, mounts and name. They live as long as a process that holds them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from .groups import Group
from .names import LabError

# Told a name and pairs of folders: each first one is mounted over the second.
_HOLD: Final = """
hostname "$1" && ip link set lo up || exit
shift
while [ $# -gt 0 ]; do mount --rbind "$1" "$2" || exit; shift 2; done
echo ready
exec sleep infinity
"""


class Space:
    """The namespaces of one host. ``mounts`` are (folder, where the host sees it)."""

    def __init__(self, name: str, group: Group, mounts: Sequence[tuple[str, str]] = ()) -> None:
        words = [word for pair in mounts for word in pair]
        # To enter a mount namespace changes the working folder: who has no mounts of his own is spared that.
        self._kinds = ["--net", "--uts", *["--mount"] * bool(mounts)]
        command = ["unshare", *self._kinds, "sh", "-c", _HOLD, "sh", name, *words]
        self._holder = subprocess.Popen(
            group.command(command), cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != b"ready\n":
            said = self._holder.stderr.read().decode(errors="replace").strip()
            self.close()
            raise LabError(f"no namespaces can be made for {name}: {said or 'see dmesg'}; the lab needs root")

    @property
    def pid(self) -> int:
        """The process that holds them."""
        return self._holder.pid

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line that runs a program there. (``ip netns exec`` would hide the control groups from it.)"""
        return ["nsenter", f"--target={self.pid}", *self._kinds, *words]

    def close(self) -> None:
        """Let go of them: what runs there ends before (see ``groups``)."""
        self._holder.kill()
        self._holder.wait()
        for pipe in (self._holder.stdout, self._holder.stderr):
            if pipe is not None:
                pipe.close()


def private_folders(folder: str, names: Sequence[str], kept: Mapping[str, str]) -> list[tuple[str, str]]:
    """Mounts that give a host its own ``names``, kept below a folder. ``kept``: paths that stay visible below them."""
    mounts = []
    for name in names:
        own = os.path.join(folder, name.strip("/").replace("/", "-"))
        os.makedirs(own)
        os.chmod(own, 0o1777)
        for path, real in kept.items():
            if path.startswith(f"{name}/"):
                inside = os.path.join(own, os.path.relpath(path, name))
                os.makedirs(inside)
                mounts.append((real, inside))
        mounts.append((own, name))
    return mounts
