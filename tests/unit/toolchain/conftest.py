"""Fixtures about the compilers of this machine."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from manycc.job import Toolchain
from manycc.testing.requirements import lacking
from manycc.toolchain.identity import Identifier, tool_path


def sha256_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def identify_now(driver: str, env: Mapping[str, str] | None = None) -> Toolchain:
    return asyncio.run(Identifier(sha256_of).identify(driver, os.environ if env is None else env))


def _compiler(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        lacking(f"{name} not installed")
    return path


@pytest.fixture(scope="session")
def identify() -> Callable[..., Toolchain]:
    """Identify a driver, in this process's environment or the one given, with nothing remembered."""
    return identify_now


@pytest.fixture(scope="session")
def digest_of() -> Callable[[str], bytes]:
    return sha256_of


@pytest.fixture
def identifier() -> Identifier:
    return Identifier(sha256_of)


@pytest.fixture(scope="session")
def gcc() -> Toolchain:
    return identify_now(_compiler("gcc"))


@pytest.fixture(scope="session")
def gxx() -> Toolchain:
    return identify_now(_compiler("g++"))


@pytest.fixture(scope="session")
def clang_names() -> tuple[str, str]:
    suffixes = ("", *(f"-{version}" for version in range(25, 10, -1)))
    pairs = ((shutil.which("clang" + suffix), shutil.which("clang++" + suffix)) for suffix in suffixes)
    return next(((c, cxx) for c, cxx in pairs if c and cxx), None) or lacking("clang not installed")


class GccTree:
    """A gcc of its own in a scratch prefix, whose parts a test may replace."""

    def __init__(self, prefix: Path) -> None:
        real = os.path.realpath(_compiler("gcc"))
        ask = ["-print-prog-name=cc1", "-print-prog-name=cc1plus"]
        cc1, cc1plus = (subprocess.run([real, arg], capture_output=True, text=True).stdout.strip() for arg in ask)
        self.bin = prefix / "bin"
        self.bin.mkdir(parents=True)
        self.driver = str(self.bin / os.path.basename(real))
        shutil.copy2(real, self.driver)
        parts = Path(os.path.normpath(self.bin / os.path.relpath(os.path.dirname(cc1), os.path.dirname(real))))
        parts.mkdir(parents=True)
        self.cc1 = parts / "cc1"
        shutil.copy2(cc1, self.cc1)
        if os.path.exists(cc1plus):
            (parts / "cc1plus").symlink_to(cc1plus)
        self.assembler = self.bin / "as"
        shutil.copy2(os.path.realpath(_compiler("as")), self.assembler)
        self.env = {"PATH": f"{self.bin}:/usr/bin:/bin"}

    @staticmethod
    def upgrade(part: Path | str) -> None:
        """Replace a program as a package manager does: a new file, renamed into place."""
        new = Path(f"{part}.dpkg-new")
        shutil.copy2(part, new)
        with open(new, "ab") as file:
            file.write(b"patched")
        new.rename(part)


@pytest.fixture
def gcc_tree(tmp_path: Path) -> GccTree:
    return GccTree(tmp_path / "prefix")


SealedRun = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def sealed() -> SealedRun:
    """Runs a command in a root that holds a toolchain, the given files and folders, and nothing else."""
    if shutil.which("bwrap") is None:
        lacking("bwrap not installed: the list of files is not proven")

    def run(
        toolchain: Toolchain,
        command: list[str],
        *,
        cwd: Path,
        folders: Iterable[str] = (),
        files: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        argv = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
        for name, value in {"PATH": tool_path(toolchain), **(env or {})}.items():
            argv += ["--setenv", name, value]
        argv += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        for place, target in toolchain.links:
            argv += ["--symlink", target, place]
        for path in (*(file.path for file in toolchain.files), *files):
            argv += ["--ro-bind", path, path]
        for folder in folders:
            argv += ["--ro-bind-try", folder, folder]
        argv += ["--bind", str(cwd), str(cwd), "--chdir", str(cwd), *command]
        return subprocess.run(argv, capture_output=True, timeout=60)

    return run
