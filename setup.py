"""Builds the programs in C with this machine's compiler; all else is in pyproject.toml.

They go where scripts go, so that ``manycc`` (C), ``manycc-ident`` (C) and ``manycc-cli`` (Python) lie side by
side, in an editable install too. ``CC``, ``CFLAGS`` and ``LDFLAGS`` are honoured; without ``CC``, musl's C library is
taken if this machine has it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from distutils.command.build_scripts import build_scripts  # part of setuptools, which takes the name over

from setuptools import setup
from setuptools.errors import CompileError, ExecError

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

SOURCES = {"launcher/manycc.c": "manycc", "launcher/ident.c": "manycc-ident"}
"""Each program's source and name."""


class BuildPrograms(build_scripts):
    """Compiles the "scripts"."""

    def run(self) -> None:
        """Raises ExecError without a C compiler, CompileError if it does not like the source."""
        os.makedirs(self.build_dir, exist_ok=True)
        version = self.distribution.get_version()
        chosen = shlex.split(os.environ.get("CC", ""))
        for source, name in SOURCES.items():
            options = [
                "-std=c11", "-O2", *shlex.split(os.environ.get("CFLAGS", "")), f'-DMANYCC_VERSION="{version}"', source,
                "-o", os.path.join(self.build_dir, name), *shlex.split(os.environ.get("LDFLAGS", "")),
            ]  # fmt: skip
            # glibc asks the processor about itself at each start, which in a virtual machine takes longer than all
            # that the launcher does; musl does not.
            if not chosen and shutil.which("musl-gcc") and not _compile(["musl-gcc", *options, "-static"]):
                continue
            # A static program starts in less than half the time, but not every machine has a static C library.
            # One that is not would not start in a sandbox, which has no other files than the compiler's.
            command = [*(chosen or ["cc"]), *options]
            if _compile([*command, "-static"]):
                problem = _compile(command)
                if problem:
                    raise CompileError(f"manycc: {source} does not compile: {shlex.join(command)}\n{problem}")


def _compile(command: list[str]) -> str:
    """Run the compiler. Returns what it complains about, nothing if it succeeds. Raises ExecError."""
    environment = os.environ | {"MANYCC_DISABLE": "1"}  # CC may well be "manycc gcc"
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ExecError(
            f"manycc: there is no C compiler to build the launcher with: {command[0]}: {error.strerror}. "
            "Install one (on Debian: apt-get install gcc libc6-dev), or name yours in CC."
        ) from None
    return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else ""


class PlatformWheel(bdist_wheel):
    """A wheel for this kind of machine and any Python 3: it holds a program, but no extension module."""

    def finalize_options(self) -> None:
        """Not a pure Python wheel."""
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        """Python, ABI and platform."""
        return "py3", "none", super().get_tag()[2]


setup(scripts=[*SOURCES], cmdclass={"build_scripts": BuildPrograms, "bdist_wheel": PlatformWheel})
