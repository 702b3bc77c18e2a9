"""Probes of compilers of several distributions, made of what their ``gcc -v`` says."""

from __future__ import annotations

from typing import Any, Final

import gcc_texts

from manycc.toolchain.crosstool import probe
from manycc.toolchain.crosstool.probe import Probe

_X86: Final = {"as_used_note": "no", "as_compress": "none", "as_relax": "yes", "as_build_notes": "no"}


def _made(said: str, target: str, version: str, **more: Any) -> Probe:
    """A probe with what the text tells, and what other answers would."""
    return Probe(
        target=target, version=version, date=probe.date_of(said), options=probe.options_of(said),
        driver_flags=probe.driver_flags_of(said), compression=probe.compression_of(said), languages=("c", "c++"),
        pie="yes", **more,
    )  # fmt: skip


DEBIAN: Final = _made(
    gcc_texts.DEBIAN, "aarch64-linux-gnu", "12.2.0", package="Debian 12.2.0-14+deb12u1", libc="glibc",
    ident="GCC: (Debian 12.2.0-14+deb12u1) 12.2.0", libc_version="2.36", kernel="6.1", binutils="2.40", ssp="no",
    as_compress="none", as_build_notes="no",
)  # fmt: skip
UBUNTU: Final = _made(
    gcc_texts.UBUNTU, "x86_64-linux-gnu", "13.2.0", package="Ubuntu 13.2.0-23ubuntu4", libc="glibc",
    ident="GCC: (Ubuntu 13.2.0-23ubuntu4) 13.2.0", libc_version="2.39", kernel="6.8", binutils="2.42", ssp="strong",
    **_X86,
)  # fmt: skip
ARCH: Final = _made(
    gcc_texts.ARCH, "x86_64-pc-linux-gnu", "14.2.1", libc="glibc", ident="GCC: (GNU) 14.2.1 20240910",
    libc_version="2.40", kernel="6.10", binutils="2.43.1", ssp="strong", **{**_X86, "as_used_note": "yes"},
)  # fmt: skip
ARCH_ARM: Final = _made(
    gcc_texts.ARCH_ARM, "armv7l-unknown-linux-gnueabihf", "14.2.1", libc="glibc", ident="GCC: (GNU) 14.2.1 20250207",
    libc_version="2.41", kernel="6.12", binutils="2.44", ssp="strong", as_compress="none", as_build_notes="no",
)  # fmt: skip
FEDORA: Final = _made(
    gcc_texts.FEDORA, "x86_64-redhat-linux", "13.2.1", libc="glibc", libc_version="2.38", kernel="6.6", binutils="2.40",
    ident="GCC: (GNU) 13.2.1 20231205 (Red Hat 13.2.1-6)", ssp="no", **{**_X86, "as_build_notes": "yes"},
)  # fmt: skip
ALPINE: Final = _made(
    gcc_texts.ALPINE, "x86_64-alpine-linux-musl", "13.2.1", package="Alpine 13.2.1_git20240309", libc="musl",
    ident="GCC: (Alpine 13.2.1_git20240309) 13.2.1 20240309", libc_version="1.2.5", kernel="6.6", binutils="2.42",
    ssp="strong", **_X86,
)  # fmt: skip
ALL: Final = {
    "debian": DEBIAN, "ubuntu": UBUNTU, "arch": ARCH, "arch arm": ARCH_ARM, "fedora": FEDORA, "alpine": ALPINE,
}  # fmt: skip
