"""Is this object for the machine it was asked for? Told from the ELF header, before it replaces anything."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from manycc.errors import CompilerError
from manycc.job import Toolchain
from manycc.toolchain import elf, probe

_RELOCATABLE: Final = 1
_OSABI_GNU: Final = 3
_HEADER_SIZE: Final = 64
_MAX_CACHED: Final = 256

# After e_ident: e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize,
# e_phnum, e_shentsize, e_shnum.
_fields: Final = {
    (1, 1): struct.Struct("<HHIIIIIHHHHH"),
    (1, 2): struct.Struct(">HHIIIIIHHHHH"),
    (2, 1): struct.Struct("<HHIQQQIHHHHH"),
    (2, 2): struct.Struct(">HHIQQQIHHHHH"),
}
_CHOOSING: Final = (
    "-m", "--target=", "-flto", "-fno-lto", "-emit-llvm",
    "-Wa,-m", "-Wa,--32", "-Wa,--64", "-Wa,--x32", "-Wa,-EL", "-Wa,-EB",
)  # fmt: skip
"""Beginnings of the options that choose a machine, an ABI or a format."""
_MACHINES: Final = {
    2: "SPARC", 3: "x86", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "ARM", 62: "x86-64",
    183: "AArch64", 243: "RISC-V", 247: "BPF", 258: "LoongArch",
}  # fmt: skip


class ObjectKind(NamedTuple):
    """What must be equal for objects to be linked together.

    ``bits`` 32 or 64; ``endian`` "little" or "big"; ``machine`` and ``flags`` are the header's e_machine
    and e_flags; ``type`` its e_type; ``abi`` its OS ABI, with GNU, which a single unique symbol
    turns on, counted as System V (0).
    """

    bits: int
    endian: str
    machine: int
    flags: int
    type: int
    abi: int

    def __str__(self) -> str:
        name = _MACHINES.get(self.machine, f"machine {self.machine}")
        return f"{self.bits}-bit {self.endian}-endian {name}, flags {self.flags:#x}, ABI {self.abi}, type {self.type}"


def kind_of(data: bytes) -> ObjectKind | None:
    """Read the header of a file's contents; None if it is no ELF file."""
    fields = _fields.get((data[4], data[5])) if data[:4] == elf.MAGIC and len(data) > 16 else None
    if fields is None or len(data) < 16 + fields.size:
        return None
    kind, machine, _, _, _, _, flags, *_ = fields.unpack_from(data, 16)
    abi = data[7]
    return ObjectKind(
        data[4] * 32, "little" if data[5] == 1 else "big", machine, flags, kind, 0 if abi == _OSABI_GNU else abi
    )


def check(data: bytes, expected: ObjectKind | None) -> str:
    """The sentence that says how an object differs from what was expected; "" if it does not.

    ``expected`` None: nothing is known that it should be.
    """
    if expected is None:
        return ""
    found = kind_of(data)
    if found == expected:
        return "it is cut short" if _cut_short(data) else ""
    return f"expected {expected}, got {found}" if found else f"expected {expected}, got what is no ELF file"


def _cut_short(data: bytes) -> bool:
    """Whether an object ends before its table of sections does, which assemblers write last."""
    fields = _fields[data[4], data[5]]
    *_, table, _, _, _, _, size, count = fields.unpack_from(data, 16)
    end: int = table + size * max(1, count)  # 0: there are more than the field can say
    return len(data) < end


_expected: dict[tuple[str, tuple[str, ...]], ObjectKind | None] = {}


async def expected_kind(toolchain: Toolchain, argv: Sequence[str], env: Mapping[str, str]) -> ObjectKind | None:
    """The kind of object the compiler itself writes under the options of a command.

    It compiles an empty file once for each set of options that choose a machine, an ABI or a format. None if
    that fails, or gives something other than an ELF object (LTO bitcode of clang).
    """
    options = _abi_options(argv)
    key = (toolchain.fingerprint, options)
    if key not in _expected:
        if len(_expected) >= _MAX_CACHED:
            _expected.clear()
        _expected[key] = await _ask(toolchain, options, env)
    return _expected[key]


async def _ask(toolchain: Toolchain, options: Sequence[str], env: Mapping[str, str]) -> ObjectKind | None:
    with tempfile.TemporaryDirectory(prefix="manycc-") as folder:
        path = os.path.join(folder, "empty.o")
        try:
            answer = await probe.run(
                [toolchain.driver, *options, "-c", "-x", "c", "/dev/null", "-o", path],
                {**probe.environment(env), "TMPDIR": folder},
            )
            return kind_of(elf.first_bytes(path, _HEADER_SIZE)) if answer.code == 0 else None
        except (CompilerError, OSError):
            return None


def _abi_options(argv: Sequence[str]) -> tuple[str, ...]:
    """The options of a command that choose a machine, an ABI or a format, for the compiler or the assembler."""
    options: list[str] = []
    rest = iter(argv[1:])
    for argument in rest:
        if argument in ("-target", "-Xassembler"):
            options += [argument, next(rest, "")]
        elif argument == "-mllvm":
            next(rest, "")
        elif argument.startswith(_CHOOSING):
            options.append(argument)
        elif argument == "-o":
            next(rest, "")
    return tuple(options)
