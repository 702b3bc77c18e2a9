"""What a compiler says of itself, taken apart; and probes that are carried from machine to machine."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import gcc_texts
import pytest

from manycc.errors import CompilerError, ConfigError
from manycc.testing.requirements import need
from manycc.toolchain.crosstool import probe
from manycc.toolchain.crosstool.ask import ask, assembler_defaults
from manycc.toolchain.crosstool.probe import Probe, from_json, to_json

OPTIONS = {
    "debian": (
        gcc_texts.DEBIAN,
        {"--enable-default-pie", "--enable-fix-cortex-a53-843419", "--enable-linker-build-id"},
    ),
    "ubuntu": (gcc_texts.UBUNTU, {"--enable-cet", "--with-arch-32=i686", "--with-abi=m64", "--with-tune=generic"}),
    "arch": (gcc_texts.ARCH, {"--enable-default-ssp", "--enable-cet=auto", "--with-linker-hash-style=gnu"}),
    "arch arm": (gcc_texts.ARCH_ARM, {"--with-arch=armv7-a", "--with-float=hard", "--with-fpu=vfpv3-d16"}),
    "fedora": (gcc_texts.FEDORA, {"--enable-initfini-array", "--enable-gnu-indirect-function", "--enable-cet"}),
    "alpine": (gcc_texts.ALPINE, {"--disable-cet", "--disable-fixed-point", "--enable-default-ssp"}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_without_those_about_places(name: str) -> None:
    said, some = OPTIONS[name]
    options = probe.options_of(said)
    assert some <= set(options)
    assert not [option for option in options if "/" in option and "zoneinfo" not in option and "isl" not in option]
    assert not [option for option in options if option.startswith(("--prefix", "--build", "--target", "--with-pkg"))]


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        (gcc_texts.DEBIAN, {"-mabi=lp64", "-mlittle-endian", "-fasynchronous-unwind-tables"}),
        (gcc_texts.UBUNTU, {"-fstack-protector-strong", "-fcf-protection", "-fstack-clash-protection", "-Wformat"}),
        (gcc_texts.ARCH_ARM, {"-mfloat-abi=hard", "-marm", "-march=armv7-a"}),
        ("no such line", set()),
    ],
)
def test_what_a_driver_adds(said: str, flags: set[str]) -> None:
    assert flags <= set(probe.driver_flags_of(said))
    assert all(flag.startswith("-") for flag in probe.driver_flags_of(said))


def test_snapshots_have_a_date() -> None:
    assert probe.date_of(gcc_texts.ARCH) == "20240910"
    assert probe.date_of(gcc_texts.FEDORA) == "20231205"
    assert probe.date_of(gcc_texts.DEBIAN) == "" and probe.date_of("") == ""


def test_compression() -> None:
    assert probe.compression_of(gcc_texts.UBUNTU) == ("zlib", "zstd")
    assert probe.compression_of(gcc_texts.ALPINE) == ("zlib",)
    assert probe.compression_of("") == ()


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("GNU assembler (GNU Binutils for Debian) 2.40\nCopyright", "2.40"),
        ("GNU assembler version 2.40-14.fc39", "2.40"),
        ("GNU assembler (GNU Binutils for Raspbian) 2.35.2", "2.35.2"),
        ("GNU assembler (GNU Binutils) 2.43.1\n", "2.43.1"),
        ("GNU assembler (GNU Binutils for Ubuntu) 2.42", "2.42"),
        ("GNU ld version 2.30-117.el8", "2.30"),
        ("Version 1.2.5", "1.2.5"),
        ("", ""),
    ],
)
def test_versions_of_tools(said: str, version: str) -> None:
    assert probe.tool_version(said) == version


def test_idents() -> None:
    told = '\t.ident\t"GCC: (Debian 12.2.0-14+deb12u1) 12.2.0"\n\t.section .x\n'
    assert probe.ident_of(told) == ("GCC: (Debian 12.2.0-14+deb12u1) 12.2.0", "Debian 12.2.0-14+deb12u1")
    assert probe.ident_of('\t.ident "GCC: (GNU) 14.2.1 20240910"') == ("GCC: (GNU) 14.2.1 20240910", "")
    assert probe.ident_of("") == ("", "")


def test_libraries_and_headers() -> None:
    assert probe.libc_of({"__GLIBC__": "2", "__GLIBC_MINOR__": "39"}, "x86_64-linux-gnu") == ("glibc", "2.39")
    assert probe.libc_of({}, "x86_64-alpine-linux-musl") == ("musl", "")
    assert probe.libc_of({}, "arm-none-eabi") == ("", "")
    assert probe.kernel_of({"LINUX_VERSION_CODE": "393659"}) == "6.1"
    assert probe.kernel_of({}) == "" == probe.kernel_of({"LINUX_VERSION_CODE": "x"})


# -- carried


def given(**changes: Any) -> str:
    one = Probe("x86_64-linux-gnu", "13.2.0", options=("--enable-cet",), package="Ubuntu 13.2.0-23ubuntu4")
    return json.dumps(to_json(one) | changes)


def test_a_probe_survives_its_journey() -> None:
    one = from_json(given(), "p.json")
    assert one.options == ("--enable-cet",) and one.label == "gcc 13.2.0 (Ubuntu 13.2.0-23ubuntu4) for x86_64-linux-gnu"
    assert from_json(json.dumps(to_json(one)), "again") == one
    assert from_json(json.dumps({"path": "/usr/bin/gcc", "crosstool": to_json(one)}), "of probe --json") == one


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "null", '{"crosstool": null}', "[" * 100_000, " " * (probe.MAX_FILE + 1),
        given(crosstool_probe=2), given(target="x86_64-linux-gnu; true"), given(target=["a"]), given(version="$(id)"),
        given(package='x" ; touch /tmp/x ; "'), given(package="`id`"), given(package="$HOME"), given(package="a\nb"),
        given(options="--enable-cet"), given(options=["--x=$(id)"]), given(options=["--x"] * 201),
        given(options=[["--x"]]), given(options=["x" * 401]), given(languages={"c": 1}), given(kernel=6.1),
    ],
)  # fmt: skip
def test_what_is_no_probe_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no probe of a compiler"):
        from_json(text, "p.json")


# -- asked for real


def test_this_machines_gcc() -> None:
    need("gcc", "as")
    one = asyncio.run(ask("gcc", os.environ))
    dumped = subprocess.run(["gcc", "-dumpmachine"], capture_output=True, text=True, check=True).stdout.strip()
    assert one.target == dumped and one.libc == "glibc" and "." in one.binutils and "." in one.kernel
    assert one.ident == f"GCC: ({one.package or 'GNU'}) {one.version}{' ' + one.date if one.date else ''}"
    assert one.pie in ("yes", "no") and "--prefix=/usr" not in one.options
    assert one.languages == (("c", "c++") if shutil.which("g++") else ("c",))
    assert from_json(json.dumps(to_json(one)), "p") == one
    if one.target == "x86_64-linux-gnu" and one.package.startswith("Debian 12"):
        assert (one.as_used_note, one.as_compress, one.as_relax, one.as_build_notes) == ("no", "none", "yes", "no")
        assert (one.version, one.binutils, one.libc_version, one.pie) == ("12.2.0", "2.40", "2.36", "yes")


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ("", {"as_used_note": "no", "as_compress": "none", "as_relax": "yes", "as_build_notes": "no"}),
        ("-mx86-used-note=yes", {"as_used_note": "yes"}),
        ("--compress-debug-sections=zlib", {"as_compress": "zlib"}),
        ("--compress-debug-sections=zstd", {"as_compress": "zstd"}),
        ("-mrelax-relocations=no", {"as_relax": "no"}),
        ("--generate-missing-build-notes=yes", {"as_build_notes": "yes"}),
    ],
)
def test_assemblers_are_told_apart_by_what_they_make(tmp_path: Path, options: str, facts: dict[str, str]) -> None:
    from manycc.toolchain.crosstool import ask as module

    need("as")
    if os.uname().machine != "x86_64":
        pytest.skip("these options are those of x86's assembler")
    source, product = tmp_path / "a.s", tmp_path / "a.o"
    source.write_text(module._ASSEMBLY + module._RELAXABLE)
    fixed = ["-mx86-used-note=no", "--nocompress-debug-sections", "-mrelax-relocations=yes"]
    subprocess.run(["as", *fixed, *options.split(), "-o", product, source], check=True)
    found = assembler_defaults(str(product), "x86_64-linux-gnu")
    assert facts.items() <= found.items()


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    script = tmp_path / "gcc"
    script.write_text("#!/bin/sh\nexec gcc\n")
    script.chmod(0o755)
    with pytest.raises(CompilerError, match="cannot be asked"):
        asyncio.run(ask(str(script), os.environ))
    with pytest.raises(CompilerError, match="no nonesuch along PATH"):
        asyncio.run(ask("nonesuch", os.environ))
    need("clang-14")
    with pytest.raises(CompilerError, match="crosstool-NG builds gcc"):
        asyncio.run(ask("clang-14", os.environ))
    with pytest.raises(CompilerError, match="cannot be read"):
        assembler_defaults(str(script), "x86_64-linux-gnu")


def test_fields_are_plain() -> None:
    assert {field.type for field in dataclasses.fields(Probe)} == {"str", "tuple[str, ...]"}
