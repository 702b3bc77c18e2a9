"""Small resources: a disk that can be filled, a memory limit. Both are gone when their tests end, however they end."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import until

from manycc.testing.requirements import lacking, need, need_root

MEBIBYTE = 1024 * 1024


class Disk:
    """A file system of its own at ``path``, in which some resource can be used up.

    ``use_up`` takes "full" (no bytes are left), "inodes" (no new file can be made) or "readonly": as after
    an error of the disk, with files still open for writing; that cannot be mended.
    """

    def __init__(self, path: Path, device: str = "") -> None:
        self.path = path
        self.broken = False
        self._device = device
        self._ballast = path / ".ballast"

    def use_up(self, what: str) -> None:
        if what == "readonly":
            Path(f"/sys/fs/ext4/{self._device}/trigger_fs_error").write_text("on purpose")
            with pytest.raises(OSError, match="Read-only"):
                self._ballast.mkdir()
            self.broken = True
            return
        self._ballast.mkdir()
        with contextlib.suppress(OSError):
            if what == "full":
                with open(self._ballast / "bytes", "wb", buffering=0) as file:
                    while file.write(bytes(65536)):
                        pass
            else:
                for number in itertools.count():
                    (self._ballast / str(number)).touch()
        state = os.statvfs(self.path)
        assert (state.f_bavail if what == "full" else state.f_favail) == 0

    def give_back(self) -> None:
        """Make it usable again."""
        if self._ballast.exists():
            for name in os.listdir(self._ballast):
                (self._ballast / name).unlink()
            self._ballast.rmdir()


@contextlib.contextmanager
def small_disk(path: Path, way: str, megabytes: int = 4, inodes: int = 2000) -> Iterator[Disk]:
    """A file system at ``path``, mode 0700, that can be used up in that way."""
    need_root("mount a small file system")
    path.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if way == "readonly":
            need("mkfs.ext4", "findmnt")
            image = path.with_name(path.name + ".image")
            stack.callback(image.unlink, missing_ok=True)
            with open(image, "wb") as file:
                file.truncate(max(megabytes, 16) * MEBIBYTE)
            subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
            _mount(stack, path, "-o", "loop,errors=remount-ro", str(image))
            path.chmod(0o700)
            (path / "lost+found").rmdir()
            source = subprocess.check_output(["findmnt", "-no", "SOURCE", str(path)], text=True).strip()
            yield Disk(path, os.path.basename(source))
        else:
            _mount(stack, path, "-t", "tmpfs", "-o", f"size={megabytes}m,nr_inodes={inodes},mode=0700", "tmpfs")
            yield Disk(path)


def _mount(stack: contextlib.ExitStack, path: Path, *arguments: str) -> None:
    done = subprocess.run(["mount", *arguments, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        lacking(f"this machine lets nothing be mounted so: {done.stderr.strip()}")
    stack.callback(subprocess.run, ["umount", "-l", str(path)], check=True)


class MemoryGroup:
    """A control group of our own whose processes together may have so much memory."""

    def __init__(self, folder: Path, limit: str) -> None:
        self.folder = folder
        self._limit = limit

    def limit(self, megabytes: int) -> None:
        """Set the limit."""
        (self.folder / self._limit).write_text(str(megabytes * MEBIBYTE))

    def front(self) -> list[str]:
        """Words in front of a command line that start the program within the group."""
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$0" "$@"']


@contextlib.contextmanager
def memory_group(megabytes: int) -> Iterator[MemoryGroup]:
    """A memory group; nothing may be left in it at the end."""
    need_root("make a control group")
    root = Path("/sys/fs/cgroup")
    first = (root / "memory").is_dir()
    control = root / "cgroup.subtree_control"
    if not first and (not control.exists() or "memory" not in control.read_text().split()):
        lacking("memory is not controlled by groups here")
    folder = (root / "memory" if first else root) / f"manycc-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        lacking(f"no control group can be made: {error.strerror}")
    try:
        group = MemoryGroup(folder, "memory.limit_in_bytes" if first else "memory.max")
        group.limit(megabytes)
        yield group
    finally:
        until(lambda: not (folder / "cgroup.procs").read_text().split())
        folder.rmdir()
