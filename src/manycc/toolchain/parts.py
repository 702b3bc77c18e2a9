"""Which files on this disk make up a compiler, by asking the compiler.

Two families are known, gcc and clang; ``examine`` tells them apart by what the driver says about
itself, and refuses what only stands in front of a compiler. The lists hold what compiling needs, not
linking: no collect2, lto-wrapper or linker plugin, no runtime libraries. Headers are no part of a
toolchain either: they travel with the jobs that include them.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from manycc.command.drivers import is_wrapper, is_zig, words_to_ask
from manycc.errors import CompilerError, NotDistributable
from manycc.reasons import Reason
from manycc.toolchain import elf, probe
from manycc.toolchain.paths import find_program, walk

_compiler_name: Final = re.compile(
    r"(?:[\w.+]+-)*(?:gcc|g\+\+|c\+\+|cc|c89|c99|clang|clang\+\+)(?:-?\d+(?:\.\d+)*)?(?:-(?:posix|win32))?|zig"
)
_gcc_version: Final = re.compile(r"^gcc version (\S+)(?: \d+)?(?: \([a-z]+\))?\s*(?:.*?\((.*)\))?\s*$", re.MULTILINE)
_clang_version: Final = re.compile(r"^(.*?)\s*clang version (\S+)\s*(?:\((.*)\))?\s*$", re.MULTILINE)
_target: Final = re.compile(r"^Target: (\S+)$", re.MULTILINE)
_ran_as: Final = re.compile(r"^COLLECT_GCC=(.*)$", re.MULTILINE)
_specs: Final = re.compile(r"^Reading specs from (.+)$", re.MULTILINE)
_gcc_used: Final = re.compile(r"^Selected GCC installation: (.+)$", re.MULTILINE)
_zig_library: Final = re.compile(r' "-isystem" "([^"]*)/include" ')
_configuration: Final = re.compile(r"^Configuration file: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Driver:
    """A compiler's driver and what it said about itself. ``path`` as called, ``real`` behind all links."""

    path: str
    real: str
    kind: str
    version: str
    package: str
    target: str
    said: str


@dataclass(slots=True)
class Parts:
    """The files of a compiler, as spelled, and what must hold for the list to stay true.

    ``programs`` and ``data`` are by component name. ``tools`` are the programs the driver looks up
    along PATH at each run, by name, "" where there is none; ``absent`` the paths where a file that
    appears would become a part. ``defaults`` is the text of what is built in, ``macros`` what is predefined for C.
    """

    programs: dict[str, str]
    data: dict[str, list[str]] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    defaults: str = ""
    macros: str = ""


async def examine(path: str, env: Mapping[str, str]) -> Driver:
    """Find out what the program at ``path`` is.

    Only a file that is a program by its format and a compiler by its name, with all links resolved,
    is ever run. Raises NotDistributable (COMPILER_WRAPPER, NOT_A_COMPILER), CompilerError.
    """
    real = admit(path)
    said = (await probe.run([path, *words_to_ask(path), "-v", "-###", "-c", "-x", "c", "/dev/null"], env)).stderr
    target = _target.search(said)
    if target is None:
        raise NotDistributable(Reason.NOT_A_COMPILER, f"{path} does not answer as one")
    if version := _gcc_version.search(said):
        ran_as = _ran_as.search(said)
        if ran_as is None or ran_as[1] != path:
            raise NotDistributable(Reason.COMPILER_WRAPPER, f"{path} runs {ran_as[1] if ran_as else 'another program'}")
        package = version[2] or ""
        return Driver(path, real, "gcc", version[1], "" if package == "GCC" else package, target[1], said)
    if version := _clang_version.search(said):
        ran = _frontend(said)
        if not ran or os.path.realpath(ran) != real:
            raise NotDistributable(Reason.COMPILER_WRAPPER, f"{path} runs {ran or 'another program'}")
        if is_zig(path):
            number = (await probe.run([path, "version"], env)).stdout.strip()
            return Driver(path, real, "clang", version[2], f"zig {number}", "", said)
        package = " ".join(text for text in (version[1], version[3]) if text)
        return Driver(path, real, "clang", version[2], package, target[1], said)
    raise NotDistributable(Reason.NOT_A_COMPILER, f"{path} is neither gcc nor clang")


async def find_parts(driver: Driver, env: Mapping[str, str]) -> Parts:
    """The parts of an examined compiler. Raises CompilerError, NotDistributable (ENVIRONMENT)."""
    if is_zig(driver.path):
        parts = _zig_parts(driver)
    else:
        parts = await (_gcc_parts(driver, env) if driver.kind == "gcc" else _clang_parts(driver, env))
    # Without the C library's own predefinitions (stdc-predef.h), which are a header and no part. Some
    # compilers define _FORTIFY_SOURCE, but only where they optimise.
    words = words_to_ask(driver.path)
    answer = await probe.run([driver.path, *words, "-O2", "-nostdinc", "-dM", "-E", "-x", "c", "/dev/null"], env)
    if answer.code:
        raise CompilerError(f"{driver.path} does not tell its predefined macros", answer.stderr.strip()[:200])
    parts.macros = answer.stdout
    macros = hashlib.sha256("\n".join(sorted(answer.stdout.splitlines())).encode("utf-8", "surrogateescape"))
    parts.defaults = "\n".join((driver.kind, driver.version, driver.package, driver.target, macros.hexdigest(), ""))
    return parts


def find_tools(names: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """The ``tools`` of the same names as they would be found along another PATH."""
    return {name: find_program(name, env) for name in names}


def admit(path: str) -> str:
    """The real path of a program that may be run to be asked. Runs nothing. Raises NotDistributable."""
    try:
        real, links = walk(path)
        start = elf.first_bytes(real, 128) if os.path.isfile(real) else b""  # a FIFO would never answer
    except OSError as error:
        raise NotDistributable(Reason.NOT_A_COMPILER, f"{path}: {error.strerror}") from error
    for name in [os.path.basename(place) for place, _ in links] + [os.path.basename(real)]:
        if is_wrapper(name):
            raise NotDistributable(Reason.COMPILER_WRAPPER, f"{path} is {name}")
    if start.startswith(b"#!"):
        interpreter = os.fsdecode(start[2:].split(b"\n")[0].strip())
        raise NotDistributable(Reason.COMPILER_WRAPPER, f"{path} is a script for {interpreter}")
    name = os.path.basename(real)
    if not start.startswith(elf.MAGIC) or not os.access(real, os.X_OK) or not _compiler_name.fullmatch(name):
        raise NotDistributable(Reason.NOT_A_COMPILER, f"{path} is {real}" if real != path else path)
    if is_zig(path) != is_zig(real):
        raise NotDistributable(Reason.NOT_A_COMPILER, f"{path} is {real}")
    return real


def _frontend(said: str) -> str:
    """The program of the first ``-cc1`` command that clang would run; "" if there is none."""
    for line in said.splitlines():
        if " -cc1 " in line or '"-cc1"' in line:
            try:
                return shlex.split(line)[0]
            except (ValueError, IndexError):
                return ""
    return ""


async def _gcc_parts(driver: Driver, env: Mapping[str, str]) -> Parts:
    compilers = ("cc1", "cc1plus", "cc1obj", "cc1objplus")
    names = (*compilers, "as", "objcopy")
    answers = await probe.run_all([[driver.path, f"-print-prog-name={name}"] for name in names], env)
    parts = Parts({"driver": driver.path})
    for name, answer in zip(names, answers, strict=True):
        path = answer.stdout.rstrip("\n")
        if answer.code or not path:
            raise CompilerError(f"{driver.path} does not tell where its {name} is", answer.stderr.strip()[:200])
        if path.startswith("/"):
            parts.programs[name] = path
        elif name not in compilers:
            # Spelled without a folder, it is looked up along PATH at each run.
            parts.tools[name] = find_program(name, env)
            if parts.tools[name]:
                parts.programs[name] = parts.tools[name]
    if "cc1" not in parts.programs or "as" not in parts.programs:
        missing = "assembler" if "cc1" in parts.programs else "cc1"
        raise CompilerError(f"{driver.path} has no {missing}")
    folder = os.path.dirname(parts.programs["cc1"])
    parts.absent += [f"{folder}/{name}" for name in compilers if name not in parts.programs]
    specs = _specs.findall(driver.said)
    parts.data["specs"] = specs
    if not specs:
        # Where -print-file-name would find them, when someone puts some there.
        library = (await probe.run([driver.path, "-print-libgcc-file-name"], env)).stdout.strip()
        if library.startswith("/"):
            parts.absent.append(os.path.join(os.path.dirname(library), "specs"))
    return parts


async def _clang_parts(driver: Driver, env: Mapping[str, str]) -> Parts:
    answer = await probe.run([driver.path, "-print-resource-dir"], env)
    resources = answer.stdout.strip()
    if answer.code or not resources.startswith("/"):
        raise CompilerError(f"{driver.path} does not tell its resource folder", answer.stderr.strip()[:200])
    parts = Parts({"driver": driver.path})
    # Ignore lists of the sanitizers change code; the rest of the folder is headers and link-time libraries.
    parts.data["resources"] = sorted(filter(os.path.isfile, glob.glob(glob.escape(resources) + "/share/*")))
    # The C++ headers are searched for beside the newest gcc installation, which clang knows by these files.
    for installation in _gcc_used.findall(driver.said)[:1]:
        folder = glob.escape(installation)
        parts.data["gcc installation"] = sorted(glob.glob(folder + "/crtbegin.o") + glob.glob(folder + "/*/crtbegin.o"))
    configurations = list(dict.fromkeys(_configuration.findall(driver.said)))
    home = env.get("HOME", "")
    for path in configurations:
        if home and path.startswith(home.rstrip("/") + "/"):
            raise NotDistributable(Reason.ENVIRONMENT, f"{path} in the home folder configures the compiler")
        if _includes_more(path):
            raise NotDistributable(Reason.ENVIRONMENT, f"{path} includes further files")
    parts.data["configuration"] = configurations
    return parts


def _zig_parts(driver: Driver) -> Parts:
    """One program, and the file by which it knows the folder of its headers."""
    found = _zig_library.search(driver.said)
    if found is None:
        raise CompilerError(f"{driver.path} does not tell where its headers are")
    library = os.path.join(probe.CWD, found[1])  # some releases spell it from the working folder
    parts = Parts({"driver": driver.path}, {"library": [f"{library}/std/std.zig"]})
    preferred = os.path.join(os.path.dirname(driver.real), "lib/zig/std/std.zig")
    if not os.path.exists(preferred):
        parts.absent.append(preferred)
    return parts


def _includes_more(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return any(word.startswith("@") for line in file if not line.startswith("#") for word in line.split())
    except OSError as error:
        raise CompilerError(f"{path} cannot be read", str(error)) from error
