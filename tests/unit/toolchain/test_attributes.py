"""Build attributes, out of any bytes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.testing.requirements import need
from manycc.toolchain import attributes
from manycc.toolchain.attributes import ARM, RISCV, UNREADABLE, describe, parse
from manycc.toolchain.objectcheck import kind_of


def section(pairs: bytes, vendor: bytes = b"aeabi", order: str = "little") -> bytes:
    scope = b"\1" + (5 + len(pairs)).to_bytes(4, order) + pairs
    return b"A" + (5 + len(vendor) + len(scope)).to_bytes(4, order) + vendor + b"\0" + scope


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_is_compared(order: str) -> None:
    pairs = b"\5armv6\0" + b"\6\6" + b"\x0a\2" + b"\x1e\6" + b"\x20\1gnu\0" + b"\x43\x322.09\0" + b"\x1c\1" + b"\x0c\0"
    data = section(pairs, order="little" if order == "<" else "big")
    assert parse(data, order, ARM) == ((6, 6), (10, 2), (28, 1))
    assert describe(ARM, parse(data, order, ARM)) == "CPU v6, FPU VFPv2, floats passed in VFP registers"
    other = section(b"\6\7", b"gnu", "little" if order == "<" else "big")
    assert parse(data + other[1:], order, ARM) == parse(other + data[1:], order, ARM) == parse(data, order, ARM)


def test_riscv_words() -> None:
    found = parse(section(b"\4\x10\5rv64i2p0\0", b"riscv"), "<", RISCV)
    assert found == ((4, 16), (5, "rv64i2p0"))
    assert describe(RISCV, found) == "stack aligned to 16, for rv64i2p0"
    assert "\x1b" not in describe(RISCV, ((5, "\x1b[2J"),))


@pytest.mark.parametrize(
    "data",
    [b"", b"B", b"A\0", b"A" + b"\xff" * 40, section(b"\6"), section(b"\5text"), section(b"\6\xff\xff\xff\xff\xff\xff"),
     section(b"\6\6")[:-1], b"A\x05\0\0\0x", b"A\0\0\0\0", section(b"\5" + b"x" * 5000 + b"\0")],
)  # fmt: skip
def test_out_of_form(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse(data, "<", ARM)


@given(st.binary(max_size=200), st.sampled_from([ARM, RISCV]), st.sampled_from("<>"))
def test_any_section(data: bytes, machine: int, order: str) -> None:
    for text in (data, b"A" + data, section(data)):
        try:
            assert describe(machine, parse(text, order, machine)).isprintable()
        except ValueError:
            pass


@given(st.data())
def test_a_damaged_object(armv7_object: bytes, data: st.DataObject) -> None:
    damaged = bytearray(armv7_object[: data.draw(st.integers(0, len(armv7_object)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    kind = kind_of(bytes(damaged))
    assert kind is None or str(kind).isprintable()


@pytest.fixture(scope="module")
def armv7_object(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    need("arm-linux-gnueabihf-gcc")
    made = tmp_path_factory.mktemp("arm") / "a.o"
    subprocess.run(["arm-linux-gnueabihf-gcc", "-c", "-x", "c", "/dev/null", "-o", made], check=True)
    return made.read_bytes()


def test_sections_that_are_too_many_or_too_large(armv7_object: bytes) -> None:
    many = bytearray(armv7_object)
    many[48:50] = b"\xff\xff"
    assert (kind := kind_of(bytes(many))) is not None and kind.attributes == UNREADABLE
    assert "attributes cannot be read" in str(kind)
    cut = kind_of(armv7_object[:60])
    assert cut is not None and cut.attributes == UNREADABLE


@pytest.mark.parametrize(
    "options",
    ["-march=armv6 -mfpu=vfp -marm", "-march=armv7-a+simd", "-march=armv8-a+simd", "-march=armv5te -mfloat-abi=soft",
     "-mcpu=cortex-m4 -mthumb -mfloat-abi=soft", "-march=armv7-a+fp -mfloat-abi=softfp", "-mbig-endian",
     "-fshort-wchar -fshort-enums -mfp16-format=ieee"],
)  # fmt: skip
def test_as_readelf_reads_them(options: str, tmp_path: Path) -> None:
    need("arm-linux-gnueabihf-gcc")
    made = tmp_path / "a.o"
    command = ["arm-linux-gnueabihf-gcc", *options.split(), "-c", "-x", "c", "/dev/null", "-o", made]
    subprocess.run(command, check=True)
    readelf = shutil.which("arm-linux-gnueabihf-readelf") or "readelf"
    shown = subprocess.run([readelf, "-A", made], capture_output=True, text=True).stdout
    said = dict(re.findall(r"Tag_(\w+): (.+)", shown))
    kind = kind_of(made.read_bytes())
    assert kind is not None and isinstance(kind.attributes, tuple) and said
    found = dict(kind.attributes)
    words = {tag: attributes.describe(ARM, ((tag, value),)) for tag, value in found.items()}
    assert words[6].replace("-A", "") == f"CPU {said['CPU_arch']}"
    assert ("FP_arch" in said) == (10 in found) and ("Advanced_SIMD_arch" in said) == (12 in found)
    if "FP_arch" in said:
        assert words[10].replace("FP-ARMv8", "FP for ARMv8") == f"FPU {said['FP_arch']}"
    assert ("ABI_VFP_args" in said) == (28 in found)
    assert str(found[18]) == said["ABI_PCS_wchar_t"]
    assert {"small": "short"}.get(said["ABI_enum_size"], said["ABI_enum_size"]) in words[26]
    assert ("ABI_FP_16bit_format" in said) == (38 in found)
