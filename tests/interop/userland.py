"""Whole Debian systems for other processors, as folders: what an emulated Raspberry Pi starts from.

debootstrap fetches and checks the packages, from where this machine gets its own. Its second stage, which runs
every package's scripts under emulation, takes minutes; here the packages are unpacked by this machine's own
``dpkg-deb``, and what their scripts would have set up for compilers and Python is set up by hand.

They are kept outside of the repository, named by what they are made of: made once, complete or not at all.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from manycc.testing.requirements import lacking, need, need_root

RECIPE: Final = 1
"""To be counted up when ``_finish`` changes."""
PACKAGES: Final = (
    "gcc", "g++", "libc6-dev", "make", "python3", "python3-msgpack", "python3-zstandard", "python3-pyelftools",
    "python3-rich", "patch", "xz-utils",
)  # fmt: skip
"""Compilers, and what manycc runs on."""
CROSS: Final = {"arm64": ("g++-x86-64-linux-gnu",), "armhf": ()}
"""Compilers for this machine, where Debian has them."""
MAKEPKG: Final = ("makepkg", "pacman-package-manager", "libarchive-tools", "fakeroot", "file")
"""makepkg, and what it asks for."""
MADE_OF: Final = "made-of"
"""A file in its root that says so: no other system has it."""
USER: Final = "you"
USER_ID: Final = 1000
_LINKS: Final = {
    "cc": "gcc", "c++": "g++", "c99": "c99-gcc", "awk": "mawk", "fakeroot": "fakeroot-sysv",
    "which": "which.debianutils",
}  # fmt: skip
"""What update-alternatives would have made, in /usr/bin."""
_SYSTEM: Final = ("/etc/passwd", "/etc/group")


@dataclass(frozen=True)
class Processor:
    """One kind of emulated machine. ``magic`` and ``mask`` are of its ELF headers, as binfmt_misc takes them."""

    arch: str
    triple: str
    qemu: str
    magic: str
    mask: str


_ELF: Final = r"\x7fELF{}\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00{}\x00"
_MASK: Final = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
ARM64: Final = Processor("arm64", "aarch64-linux-gnu", "qemu-aarch64-static", _ELF.format(r"\x02", r"\xb7"), _MASK)
ARMHF: Final = Processor("armhf", "arm-linux-gnueabihf", "qemu-arm-static", _ELF.format(r"\x01", r"\x28"), _MASK)


def cache_dir() -> str:
    """Where the folders are kept."""
    return os.environ.get("MANYCC_USERLANDS", os.path.join(os.path.expanduser("~"), ".cache", "manycc-tests"))


def userland(processor: Processor, extra: Sequence[str] = ()) -> str:
    """The folder of a system for ``processor`` with ``extra`` packages, made if it is not there. Only to be read."""
    need_root("make a system for another processor")
    need("debootstrap", "dpkg-deb", "apt-get", processor.qemu)
    suite, packages = _suite(), sorted({*PACKAGES, *CROSS[processor.arch], *extra})
    made_of = "\n".join([str(RECIPE), processor.arch, suite, *packages])
    name = f"pi-{processor.arch}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"
    os.makedirs(cache_dir(), exist_ok=True)
    folder = os.path.join(cache_dir(), name)
    with open(f"{folder}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes second waits for the first
        if not os.path.isdir(folder):
            part = f"{folder}.part"
            shutil.rmtree(part, ignore_errors=True)  # of one that was killed
            try:
                _make(part, processor.arch, suite, packages)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
            Path(part, MADE_OF).write_text(made_of, encoding="ascii")
            os.rename(part, folder)
    return folder


def _suite() -> str:
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    return lacking("a Debian release to make systems of (VERSION_CODENAME in /etc/os-release)")


def _mirror(suite: str) -> str:
    """Where this machine has its own packages from."""
    form = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        release, component, uri = line.split(" ", 2)
        if (release, component) == (suite, "main"):
            return uri
    return lacking(f"a package source of {suite}, component main, in apt's sources")


def _make(folder: str, arch: str, suite: str, packages: Sequence[str]) -> None:
    command = [
        "debootstrap", f"--arch={arch}", "--variant=minbase", "--foreign", f"--include={','.join(packages)}",
        suite, folder, _mirror(suite),
    ]  # fmt: skip
    # Said to be in a container, it neither needs device files nor guesses which container this is.
    done = subprocess.run(
        command, env={**os.environ, "container": "lxc"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"debootstrap: {arch}: {done.stdout[-2000:]}")
    required = set(Path(folder, "debootstrap", "required").read_text(encoding="ascii").split())
    archives = Path(folder, "var/cache/apt/archives")
    for archive in sorted(archives.glob("*.deb")):
        if archive.name.split("_")[0] not in required:  # those are unpacked already
            _unpack(str(archive), folder)
        archive.unlink()
    _finish(Path(folder))


def _unpack(archive: str, folder: str) -> None:
    """Unpack one package, through the links that make /bin, /lib and /sbin one with those in /usr."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as data:
        command = ["tar", "--extract", "--directory", folder, "--keep-directory-symlink", "--same-permissions"]
        subprocess.run(command, stdin=data.stdout, check=True)
    if data.returncode:
        raise RuntimeError(f"{archive} does not unpack")


def _finish(root: Path) -> None:
    """What the packages' own scripts would have done, as far as it matters here."""
    for name, target in _LINKS.items():
        link = root / "usr/bin" / name
        if (link.parent / target).exists() and not link.is_symlink():
            link.symlink_to(target)
    for path in _SYSTEM:
        text = (root / f"usr/share/base-passwd/{os.path.basename(path)}.master").read_text(encoding="ascii")
        user = (
            f"{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/bin/bash" if path == "/etc/passwd" else f"{USER}:x:{USER_ID}:"
        )
        (root / path[1:]).write_text(f"{text}{user}\n", encoding="ascii")
    home = root / "home" / USER
    home.mkdir()
    os.chown(home, USER_ID, USER_ID)
    for name in ("proc", "sys"):
        (root / name).mkdir(exist_ok=True)
    (root / "opt/manycc").mkdir(parents=True)
    if (root / "usr/bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}").exists():
        # Byte code is the same on every processor.
        for folder in (f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3"):
            where = str(root / "usr/lib" / folder)
            compileall.compile_dir(where, stripdir=str(root), prependdir="/", quiet=2, workers=os.cpu_count() or 1)
    shutil.rmtree(root / "debootstrap")
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
    shutil.rmtree(root / "usr/share/doc", ignore_errors=True)
