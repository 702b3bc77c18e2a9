"""One compile that leaves nothing behind: the program that the agent runs to compile a job again.

    python -m manycc.verify.private < SPEC > RESULT      (both msgpack, see ``main``)

In a mount namespace of its own, everything is read-only; each folder that the job writes to is covered by an
overlay whose upper layer lies in memory, so that the compiler sees all files at their places under their
names, and what it writes goes nowhere. It runs with the very command, environment, folder, umask and kind
of terminal of the job: nothing is changed that could change a byte. All that was written vanishes
with the namespace, however it ends.

bubblewrap is not used for this: it cannot make overlays (before 0.11), and a folder with the inputs
bound into it one by one would show only those inputs that are known, which is what is to be verified.

Where namespaces are not to be had, ``output`` in the specification names another main output: then the
command runs as it is, and writes there.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import pty
import select
import selectors
import signal
import stat
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgpack

from manycc.command.drivers import is_zig, private_cache

MAX_TEXT: Final = 16 * 1024 * 1024
SCRATCH_BYTES: Final = 1024 * 1024 * 1024
FULL_BELOW: Final = 1024 * 1024
"""With less free than this, a compile that failed may have failed for lack of room."""

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWPID: Final = 0x20000000
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_PRIVATE: Final = 1 << 18
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_MOUNT_ATTR_RDONLY: Final = 1
_SYS_MOUNT_SETATTR: Final = 442  # on every architecture but alpha
_PR_SET_PDEATHSIG: Final = 1

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Unable(Exception):
    """It cannot be done for this job. The text says why."""


class Forbidden(Unable):
    """This machine allows it for no job."""


def main() -> int:
    """Read a specification from stdin, write the result to stdout.

    Specification: ``argv``, ``compiler``, ``cwd``, ``env``, ``umask``; ``columns`` of the terminal that stderr is,
    or None where it is none; ``scratch``, an existing folder for what is temporary; ``folders`` that the job
    writes into; ``hide``, paths in them that it shall not find; ``output``, "" for a private namespace;
    ``patient``, to take nothing but time that nobody else wants.

    Result: ``unable`` with a sentence, and ``forbidden``: whether that goes for all jobs. Or ``code`` (negative for a
    signal), ``stdout``, ``stderr``, ``files`` as [path, permission bits, content], and ``full``: whether room ran out.
    """
    spec = msgpack.unpackb(sys.stdin.buffer.read(), unicode_errors="surrogateescape")
    _die_with_parent()
    if spec["patient"]:
        os.nice(19)
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        result = _renamed(spec) if spec["output"] else _covered(spec)
    except Unable as error:
        result = {"unable": str(error), "forbidden": isinstance(error, Forbidden)}
    except OSError as error:
        result = {"unable": f"{error.filename or 'the compiler'}: {error.strerror}", "forbidden": False}
    sys.stdout.buffer.write(msgpack.packb(result, unicode_errors="surrogateescape"))
    sys.stdout.buffer.flush()
    return 0


def _renamed(spec: dict[str, Any]) -> dict[str, Any]:
    result = _compile(spec, spec["scratch"])
    output = spec["output"]
    result["files"] = [_file(output, output)] if os.path.isfile(output) else []
    return result


def _covered(spec: dict[str, Any]) -> dict[str, Any]:
    _unshare()
    scratch = spec["scratch"]
    folders = _topmost(spec["folders"])
    places = [os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in folders]
    below = [(path, os.open(path, os.O_PATH)) for path in _mounts() if _beneath(path, folders)]
    _make_read_only()
    _mount("tmpfs", scratch, "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={SCRATCH_BYTES},mode=700")
    if _beneath(scratch, folders):
        below.append((scratch, os.open(scratch, os.O_PATH)))
    uppers = [_cover(place, f"{scratch}/{number}") for number, place in enumerate(places)]
    for path, place in below:
        _mount(f"/proc/self/fd/{place}", path, "", _MS_BIND | _MS_REC, "")
    for path in spec["hide"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    temporary = os.path.join(scratch, "temporary")
    os.mkdir(temporary, 0o700)
    result = _compile(spec, temporary)
    room = os.statvfs(scratch)
    result["full"] = room.f_bavail * room.f_frsize < FULL_BELOW
    written = itertools.chain.from_iterable(map(_written, uppers, folders))
    result["files"] = [_file(place, path) for place, path in written]
    return result


# -- the namespace


def _unshare() -> None:
    """Enter a namespace of mounts and one of processes, as whoever this process already is."""
    user, group = os.geteuid(), os.getegid()
    # Root needs no user namespace, in which files of other users would not be its own any more.
    if user != 0 or _libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID) != 0:
        if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID) != 0:
            raise Forbidden(_said("user namespaces are forbidden"))
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    _mount("", "/", "", _MS_REC | _MS_PRIVATE, "")


def _make_read_only() -> None:
    attributes = struct.pack("4Q", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    status = _libc.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, ctypes.c_size_t(len(attributes))
    )
    if status != 0:
        raise Forbidden(_said("mounts cannot be made read-only"))


def _cover(place: int, scratch: str) -> str:
    """Put an overlay over the folder that ``place`` is open on. Returns the folder of its upper layer."""
    upper, work = f"{scratch}.upper", f"{scratch}.work"
    for folder in (upper, work):
        os.mkdir(folder, 0o755)
    opened = [os.open(folder, os.O_PATH) for folder in (upper, work)]
    # Through descriptors: no character of a path has a meaning, and nothing mounted meanwhile is in the way.
    options = f"lowerdir=/proc/self/fd/{place},upperdir=/proc/self/fd/{opened[0]},workdir=/proc/self/fd/{opened[1]}"
    folder = os.readlink(f"/proc/self/fd/{place}")
    try:
        _mount("overlay", folder, "overlay", 0, options)
    except Unable:
        _mount("overlay", folder, "overlay", 0, f"{options},userxattr")
    return upper


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    texts = [os.fsencode(text) if text else None for text in (source, target, kind)]
    status = _libc.mount(*texts, ctypes.c_ulong(flags), os.fsencode(options) if options else None)
    if status != 0:
        raise Unable(_said(f"{kind or 'a folder'} cannot be mounted on {target}"))


def _said(what: str) -> str:
    return f"{what}: {os.strerror(ctypes.get_errno())}"


def _topmost(folders: Sequence[str]) -> list[str]:
    """The folders that lie in no other of them, each seen through one mount."""
    chosen: list[str] = []
    for folder in sorted({os.path.realpath(folder) for folder in folders}):
        if folder == "/":
            raise Unable("it writes to the root folder")
        if not any(folder.startswith(f"{other}/") and _device(folder) == _device(other) for other in chosen):
            chosen.append(folder)
    return chosen


def _device(path: str) -> int:
    return os.stat(path).st_dev


def _beneath(path: str, folders: Sequence[str]) -> bool:
    """Whether a path lies in one of the folders, and is none of them."""
    return path not in folders and any(path.startswith(f"{folder}/") for folder in folders)


def _mounts() -> list[str]:
    """Where something is mounted now, outermost first (proc(5): octal escapes)."""
    with open("/proc/self/mountinfo", "rb") as file:
        raw = [line.split(b" ")[4] for line in file]
    paths = {os.fsdecode(path.decode("unicode_escape").encode("latin-1")) for path in raw}
    return sorted(path for path in paths if os.path.isdir(path) or os.path.isfile(path))


# -- the compile


def _compile(spec: dict[str, Any], temporary: str) -> dict[str, Any]:
    environment = {**spec["env"], "TMPDIR": temporary, "MANYCC_DISABLE": "1"}
    if is_zig(spec["argv"][0]):
        environment |= private_cache(temporary)
    error_read, error_write = os.pipe() if spec["columns"] is None else _terminal(spec["columns"])
    ours_read, ours_write = os.pipe()

    def begin() -> None:
        _die_with_parent()
        os.close(ours_write)
        if select.select([ours_read], [], [], 0)[0]:  # our parent died before it was said that we go with it
            os._exit(1)

    process = subprocess.Popen(
        spec["argv"], executable=spec["compiler"], cwd=spec["cwd"], env=environment, umask=spec["umask"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=error_write, preexec_fn=begin,
    )  # fmt: skip
    os.close(error_write)
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    stdout, stderr = _read_all(process.stdout.fileno(), error_read)
    code = process.wait()
    if max(len(stdout), len(stderr)) > MAX_TEXT:
        raise Unable("it says more than can be compared")
    return {"code": code, "stdout": stdout, "stderr": stderr, "full": False}


def _terminal(columns: int) -> tuple[int, int]:
    """A terminal like the caller's, as (the end to read from, the end for the compiler)."""
    ours, theirs = pty.openpty()
    mode = termios.tcgetattr(theirs)
    mode[1] &= ~termios.OPOST  # what is written shall arrive as it was written
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    return ours, theirs


def _read_all(*ends: int) -> list[bytes]:
    """What comes through each descriptor until its end; a little more than MAX_TEXT where it is too much."""
    texts = {end: bytearray() for end in ends}
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                try:
                    data = os.read(key.fd, 1 << 16)
                except OSError:
                    data = b""  # the end of a terminal
                if not data:
                    selector.unregister(key.fd)
                elif len(texts[key.fd]) <= MAX_TEXT:
                    texts[key.fd] += data
    return [bytes(texts[end]) for end in ends]


def _written(upper: str, folder: str) -> Iterator[tuple[str, str]]:
    """(where it lies, where the compiler wrote it) of each regular file; what it removed left devices behind."""
    for place, _, names in os.walk(upper):
        for name in names:
            path = os.path.join(place, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path, os.path.join(folder, os.path.relpath(path, upper))


def _file(place: str, path: str) -> tuple[str, int, bytes]:
    with open(place, "rb") as file:
        return path, stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o777, file.read()


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
