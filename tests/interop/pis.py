"""Emulated Raspberry Pis: a system for ARM (``userland.py``) under qemu's user emulation, as a machine of its own.

Every program in it, compilers and Python included, is an ARM program that qemu translates; its kernel, clock and
network are this machine's. Which processor's programs the kernel hands to qemu is told in a user namespace
(binfmt_misc, Linux 6.7): this machine's own settings stay as they are, and nothing is left behind. An older kernel
must have been told for the whole machine, as qemu-user-static's package does it. There is no third way: qemu can be
asked by hand for one program, but it leaves the programs that this one starts to the kernel, and a gcc starts others.

One thing qemu cannot emulate: ``clone`` with new namespaces, so the ARM bubblewrap fails. A Pi here therefore has this
machine's bubblewrap, which the kernel runs as it is; all that it seals, the compiler first of all, is emulated again.

::

    with pi(ARM64, folder) as machine:
        print(machine.run(["uname", "-m"]).stdout)
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from userland import MADE_OF, USER, USER_ID, Processor, userland

from manycc import __version__
from manycc.testing.requirements import lacking, need, need_root

START_S: Final = 120.0
REPOSITORY: Final = Path(__file__).resolve().parents[2]
MANYCC: Final = "/opt/manycc"
"""The repository, in a Pi."""
PROGRAMS: Final = {"launcher/manycc.c": "manycc", "launcher/ident.c": "manycc-ident"}
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BINFMT: Final = "/proc/sys/fs/binfmt_misc"
PRIVATE_BINFMT: Final = (6, 7)
"""The first Linux in which a user namespace has programs' formats of its own."""
TOO_OLD: Final = (
    "emulation of a whole system: this kernel is older than Linux 6.7 and was not told to hand such programs to {0}"
    " (as root: systemctl restart systemd-binfmt, or update-binfmts --enable)"
)
_IDS: Final = "0 0 4294967295\n"

# In a mount namespace, with all rights.
_OUTSIDE: Final = """
set -e
cd "$1"; mkdir upper work root
mount -t overlay overlay -o "lowerdir=$2,upperdir=upper,workdir=work" root
mount --bind /etc/resolv.conf root/etc/resolv.conf 2>/dev/null || true
exec nsenter --user="$3" -- unshare --mount --uts --ipc --pid --fork --kill-child bash -c "$4" inside "${@:5}"
"""
# In a user namespace, where a file system of programs' formats is its own.
_INSIDE: Final = f"""
set -e
mount -t proc proc /proc
if [ -n "$1" ]; then
    mount -t binfmt_misc none {_BINFMT}
    printf %s "$1" >{_BINFMT}/register
fi
hostname "$2"
exec bwrap --cap-add ALL --bind root / --dev-bind /dev /dev --bind /sys /sys --dev-bind /proc /proc \\
    --tmpfs /run --tmpfs /tmp --chmod 1777 /tmp \\
    --ro-bind "$3" {MANYCC} "${{@:4}}" -- /bin/bash -c 'echo ready; while read -r _; do :; done'
"""
_CLI: Final = """\
#!/usr/bin/python3
import sys
from manycc.cli.main import main
sys.exit(main())
"""


class Pi:
    """A running machine. ``files`` is its root folder as this machine sees it."""

    def __init__(self, process: subprocess.Popen[bytes], processor: Processor) -> None:
        self.processor = processor
        self.pid = _child(_child(process.pid))  # unshare's child is bwrap, whose child is in the new root
        # Held open, and looked at first: no mistake here may write to this machine's own files.
        self._root = os.open(f"/proc/{self.pid}/root", os.O_PATH | os.O_DIRECTORY)
        self.files = f"/proc/{os.getpid()}/fd/{self._root}"
        if not os.path.exists(f"{self.files}/{MADE_OF}"):
            os.close(self._root)
            raise RuntimeError(f"process {self.pid} is not in the root that was made for it")

    def close(self) -> None:
        """Let go of its files."""
        os.close(self._root)

    def command(self, argv: Sequence[str], cwd: str = "/", user: str = "root") -> list[str]:
        """The command line that runs ``argv`` in it, with the environment of whoever runs that line."""
        line = ["nsenter", "-t", str(self.pid), "-U", "-m", "-u", "-i", "-p", "--"]
        if user != "root":
            line += ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return [*line, "/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", cwd, *argv]

    def env(self, more: Mapping[str, str] | None = None, user: str = "root") -> dict[str, str]:
        """An environment, with ``more`` in it."""
        home = "/root" if user == "root" else f"/home/{user}"
        return {"PATH": PATH, "HOME": home, "USER": user, "LC_ALL": "C.UTF-8", **(more or {})}

    def run(
        self,
        argv: Sequence[str],
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        user: str = "root",
        check: bool = True,
        limit_s: float = 600.0,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program, which must succeed unless ``check`` is false. What it says on stdout and stderr is text."""
        done = subprocess.run(
            self.command(argv, cwd, user), env=self.env(env, user), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="surrogateescape", timeout=limit_s, check=False, **options,
        )  # fmt: skip
        if check:
            said = done.stdout[-3000:] + done.stderr[-3000:]
            assert done.returncode == 0, f"{shlex.join(argv)}: {done.returncode}\n{said}"
        return done

    def start(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, user: str = "root", **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a program."""
        return subprocess.Popen(self.command(argv, "/", user), env=self.env(env, user), **options)

    def path(self, path: str) -> Path:
        """A file of it, where this machine sees it."""
        return Path(self.files + path)

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file, and make the folders to it."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)

    def give(self, folder: str, path: str, user: str = "root") -> None:
        """Copy a folder of this machine into it."""
        shutil.copytree(folder, self.path(path), symlinks=True)
        if user == USER:
            for name in (self.path(path), *self.path(path).rglob("*")):
                os.chown(name, USER_ID, USER_ID, follow_symlinks=False)

    def install(self) -> None:
        """Install manycc: its programs in C are built by the machine's own compiler, as ``setup.py`` builds them."""
        self.write("/usr/local/bin/manycc-cli", _CLI, 0o755)
        self.write("/usr/lib/python3/dist-packages/manycc.pth", f"{MANYCC}/src\n")
        for source, name in PROGRAMS.items():
            self.run([
                "gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", f'-DMANYCC_VERSION="{__version__}"',
                f"{MANYCC}/{source}", "-o", f"/usr/local/bin/{name}", "-static",
            ])  # fmt: skip


@contextmanager
def pi(processor: Processor, folder: str, name: str = "pi", packages: Sequence[str] = ()) -> Iterator[Pi]:
    """A machine with manycc installed. ``folder`` must exist; what the machine writes lies below it."""
    need_root("make namespaces")
    need("nsenter", "unshare", "bwrap", "/bin/bash", processor.qemu)
    system = userland(processor, packages)
    with _user_namespace() as space:
        qemu = shutil.which(processor.qemu)
        # F: opened now, so not looked for in the Pi. P: programs are told the name that they are called by.
        form = f":{processor.qemu}:M::{processor.magic}:{processor.mask}:{qemu}:FP"
        if _kernel() < PRIVATE_BINFMT:
            form = "" if _known_to_all(processor) else lacking(TOO_OLD.format(processor.qemu))
        process = subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", _OUTSIDE, "outside", folder, system, space, _INSIDE,
             form, name, str(REPOSITORY), *_bubblewrap()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if process.stdout.readline() != b"ready\n":
                process.stdin.close()
                why = process.stderr.read().decode(errors="replace").strip()
                lacking(f"a kernel that hands {processor.arch}'s programs to qemu, in a user namespace: {why}")
            machine = Pi(process, processor)
            try:
                machine.install()
                yield machine
            finally:
                machine.close()
        finally:
            process.stdin.close()
            try:
                process.wait(START_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
            process.stderr.close()


def _bubblewrap() -> list[str]:
    """What lays this machine's bubblewrap over a Pi's root, with its libraries, where the program looks for them."""
    bwrap = str(shutil.which("bwrap"))
    said = subprocess.run(["ldd", bwrap], capture_output=True, text=True, check=True).stdout
    libraries = [word for word in said.split() if word[:1] == "/"]
    folders = dict.fromkeys(os.path.dirname(path) for path in libraries)  # for nobody else, if it makes them unasked
    return [
        *(word for folder in folders for word in ("--perms", "0755", "--dir", folder)),
        *(word for path in libraries for word in ("--ro-bind", path, path)),
        "--ro-bind", bwrap, "/usr/bin/bwrap",
    ]  # fmt: skip


def _kernel() -> tuple[int, ...]:
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2]))


def _known_to_all(processor: Processor) -> bool:
    """Whether this machine hands such programs to a qemu that it has opened already, so that it works in any root."""
    try:
        told = Path(_BINFMT, processor.qemu.removesuffix("-static")).read_text(encoding="ascii").split("\n")
    except OSError:
        return False
    flags = next((line.removeprefix("flags: ") for line in told if line.startswith("flags: ")), "")
    return told[0] == "enabled" and {"F", "P"} <= set(flags)


def _child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


@contextmanager
def _user_namespace() -> Iterator[str]:
    """The path of a new user namespace, in which all users are who they are."""
    here = os.readlink("/proc/self/ns/user")
    with subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE) as holder:
        space = f"/proc/{holder.pid}/ns/user"
        end = time.monotonic() + START_S
        while os.readlink(space) == here:
            if holder.poll() is not None or time.monotonic() > end:
                lacking("user namespaces")
        for ids in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{ids}").write_text(_IDS, encoding="ascii")
        yield space


if __name__ == "__main__":  # a shell in one, to look around
    import tempfile

    from userland import ARM64, ARMHF

    with tempfile.TemporaryDirectory() as where, pi({"arm64": ARM64, "armhf": ARMHF}[sys.argv[1]], where) as machine:
        sys.exit(subprocess.call(machine.command(sys.argv[2:] or ["bash"]), env=machine.env()))
