"""Is this object for the machine it was asked for? Told from the file itself, before it replaces anything."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from manycc.command.drivers import driver_words
from manycc.errors import CompilerError
from manycc.job import Toolchain
from manycc.toolchain import elf, facts, probe
from manycc.toolchain.attributes import Attributes, describe, read

_RELOCATABLE: Final = 1
_OSABI_GNU: Final = 3
_MAX_CACHED: Final = 256
_MAX_REFERENCE: Final = 1 << 20
_BITCODE: Final = (b"BC\xc0\xde", b"\xde\xc0\x17\x0b")

# After e_ident: e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize,
# e_phnum, e_shentsize, e_shnum.
_fields: Final = {
    (1, 1): struct.Struct("<HHIIIIIHHHHH"),
    (1, 2): struct.Struct(">HHIIIIIHHHHH"),
    (2, 1): struct.Struct("<HHIQQQIHHHHH"),
    (2, 2): struct.Struct(">HHIQQQIHHHHH"),
}
_CHOOSING: Final = (
    "-m", "--target=", "-flto", "-fno-lto", "-ffat-lto", "-fno-fat-lto", "-emit-llvm", "-fshort-", "-fno-short-",
    "-fpi", "-fPI", "-fno-pi", "-fno-PI", "-fintegrated-as", "-fno-integrated-as", "-Wa,-m", "-Wa,--32", "-Wa,--64",
    "-Wa,--x32", "-Wa,-EL", "-Wa,-EB",
)  # fmt: skip
"""Beginnings of the options that choose a machine, an ABI or a format."""
_ASSEMBLER: Final = ("assembler", "assembler-with-cpp")
_REFERENCE: Final = "int reference(int n) { return n; }\n"
_MACHINES: Final = {
    2: "SPARC", 3: "x86", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S/390", 40: "ARM", 62: "x86-64",
    183: "AArch64", 243: "RISC-V", 247: "BPF", 258: "LoongArch",
}  # fmt: skip


class ObjectKind(NamedTuple):
    """What must be equal for objects to be linked together, and to run.

    ``bits`` 32 or 64; ``endian`` "little" or "big"; ``machine`` and ``flags`` are the header's e_machine
    and e_flags; ``type`` its e_type; ``abi`` its OS ABI, with GNU, which a single unique symbol
    turns on, counted as System V (0). ``attributes`` are the build attributes, () where there are none; None
    in what is expected of an assembler's source, which sets them itself.
    """

    bits: int
    endian: str
    machine: int
    flags: int
    type: int
    abi: int
    attributes: Attributes | None = ()

    def __str__(self) -> str:
        name = _MACHINES.get(self.machine, f"machine {self.machine}")
        more = describe(self.machine, self.attributes or ())
        return (
            f"{self.bits}-bit {self.endian}-endian {name}, flags {self.flags:#x}, ABI {self.abi}, type {self.type}"
            + f" ({more})" * bool(more)
        )


class Bitcode(NamedTuple):
    """LLVM's bitcode, as clang writes it for link-time optimisation. ``target`` is the triple it must name, "" if that
    cannot be told."""

    target: str

    def __str__(self) -> str:
        return f"LLVM bitcode{' for ' * bool(self.target)}{self.target}"


Expected = ObjectKind | Bitcode


def kind_of(data: bytes) -> ObjectKind | None:
    """The kind of a file's contents; None if it is no ELF file."""
    fields = _fields.get((data[4], data[5])) if data[:4] == elf.MAGIC and len(data) > 16 else None
    if fields is None or len(data) < 16 + fields.size:
        return None
    kind, machine, _, _, _, table, flags, _, _, _, entry, count = fields.unpack_from(data, 16)
    abi = data[7]
    bits = data[4] * 32
    return ObjectKind(
        bits,
        "little" if data[5] == 1 else "big",
        machine,
        flags,
        kind,
        0 if abi == _OSABI_GNU else abi,
        read(data, bits, "<" if data[5] == 1 else ">", machine, table, entry, count),
    )


def check(data: bytes, expected: Expected | None) -> str:
    """The sentence that says how an object differs from what was expected; "" if it does not.

    ``expected`` None: nothing is known that it should be.
    """
    if expected is None:
        return ""
    if isinstance(expected, Bitcode):
        if not data.startswith(_BITCODE):
            return f"expected {expected}, got {kind_of(data) or 'something else'}"
        return "" if expected.target.encode() in data else f"expected {expected}, got bitcode for another target"
    found = kind_of(data)
    if found is None:
        return f"expected {expected}, got what is no ELF file"
    if found == expected or (expected.attributes is None and found._replace(attributes=None) == expected):
        return "it is cut short" if _cut_short(data) else ""
    return f"expected {expected}, got {found}"


def check_beside(data: bytes, expected: Expected | None) -> str:
    """As ``check``, for a further file of the same compile (``.dwo``): if it is an ELF file, for the same machine."""
    found = kind_of(data)
    if found is None or not isinstance(expected, ObjectKind) or found[:3] == expected[:3]:
        return ""
    return f"expected {expected}, got {found}"


def may_be_the_sources(data: bytes, expected: Expected) -> bool:
    """Whether an object that is of another kind may be so because its source says so.

    Assembly within a source can choose another processor for itself (``.arch``, ``.fpu``), and that stands in
    the object. Nothing in a source makes an object for another machine.
    """
    found = kind_of(data)
    if found is None or not isinstance(expected, ObjectKind) or _cut_short(data):
        return False
    return found._replace(flags=0, attributes=()) == expected._replace(flags=0, attributes=())


def _cut_short(data: bytes) -> bool:
    """Whether an object ends before its table of sections does, which assemblers write last."""
    fields = _fields[data[4], data[5]]
    *_, table, _, _, _, _, size, count = fields.unpack_from(data, 16)
    end: int = table + size * max(1, count)  # 0: there are more than the field can say
    return len(data) < end


_expected: dict[tuple[str, tuple[str, ...]], Expected | None] = {}


async def expected_kind(
    toolchain: Toolchain, argv: Sequence[str], env: Mapping[str, str], language: str = "c"
) -> Expected | None:
    """The kind of object the compiler itself writes under the options of a command.

    It compiles a small file once for each set of options that choose a machine, an ABI or a format. None if that
    fails. ``language`` as for ``-x``: the attributes of an assembler's source are its own.
    """
    options = _abi_options(argv)
    key = (toolchain.fingerprint, options)
    if key not in _expected:
        if len(_expected) >= _MAX_CACHED:
            _expected.clear()
        _expected[key] = await _ask(toolchain, options, env)
    expected = _expected[key]
    if isinstance(expected, ObjectKind) and language in _ASSEMBLER:
        return expected._replace(attributes=None)
    return expected


async def _ask(toolchain: Toolchain, options: Sequence[str], env: Mapping[str, str]) -> Expected | None:
    environment = probe.environment(env)
    with tempfile.TemporaryDirectory(prefix="manycc-") as folder:
        source, output = os.path.join(folder, "reference.c"), os.path.join(folder, "reference.o")
        try:
            with open(source, "w", encoding="ascii") as file:
                file.write(_REFERENCE)
            answer = await probe.run(
                [toolchain.driver, *options, "-c", source, "-o", output], {**environment, "TMPDIR": folder}
            )
            if answer.code:
                return None
            data = elf.first_bytes(output, _MAX_REFERENCE)
            if not data.startswith(_BITCODE):
                return kind_of(data)
            target = await facts.target_under(toolchain, options, environment)
            return Bitcode(target if target.encode() in data else "")
        except (CompilerError, OSError):
            return None


def _abi_options(argv: Sequence[str]) -> tuple[str, ...]:
    """The options of a command that choose a machine, an ABI or a format, for the compiler or the assembler."""
    words = driver_words(argv)
    options = list(argv[1:words])
    rest = iter(argv[words:])
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
