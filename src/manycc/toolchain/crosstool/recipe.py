"""A crosstool-NG configuration for a compiler equal to a client's, and what will differ all the same.

Nothing differs in silence: what crosstool-NG cannot make equal is named, with what it changes. Whether the objects are
equal is not decided here but by the canaries, once the toolchain stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from manycc.errors import ConfigError
from manycc.toolchain.crosstool import target, versions
from manycc.toolchain.crosstool.probe import Probe
from manycc.toolchain.crosstool.versions import Offer

MAGIC: Final = "# manycc recipe 1"
CODE: Final = "code may differ"
LINKING: Final = "only linking is affected"
LABEL: Final = "code is not affected"

_MIRROR: Final = "https://ftp.gnu.org/gnu/gcc/gcc-{0}/gcc-{0}.tar.xz"
_ARRAY_WORD: Final = re.compile(r"--[\w.,:+@/=%^-]+", re.ASCII)
"""What goes into lists of options, which crosstool-NG has its shell evaluate."""
_PACKAGE: Final = re.compile(r"[\w .,:+~@/=-]+", re.ASCII)
_PATH: Final = re.compile(r"[\w.+/@=-]+", re.ASCII)
_REVISION: Final = re.compile(r"[0-9a-f]{40}")

_CARRIED: Final = (
    "--enable-default-ssp", "--disable-default-ssp", "--enable-cet", "--disable-cet", "--enable-gnu-unique-object",
    "--disable-gnu-unique-object", "--enable-gnu-indirect-function", "--disable-gnu-indirect-function",
    "--enable-initfini-array", "--enable-standard-branch-protection", "--enable-fix-cortex-a53-835769",
    "--enable-fix-cortex-a53-843419", "--disable-fixed-point", "--enable-fixed-point", "--enable-frame-pointer",
    "--enable-secureplt", "--enable-s390-excess-float-precision",
    "--with-gcc-major-version-only", "--with-arch-32", "--with-arch-64", "--with-tune-32", "--with-tune-64",
    "--with-cpu-32", "--with-cpu-64", "--with-abi", "--with-default-libstdcxx-abi", "--with-long-double-128",
    "--with-long-double-format", "--with-isa-spec", "--with-stack-clash-protection-guard-size", "--with-tls",
    "--with-fp-32", "--with-nan", "--with-strict-align-lib", "--enable-decimal-float", "--disable-decimal-float",
    "--with-specs", "--with-dwarf2",
)  # fmt: skip
"""Of the client's configure options, those that change what is compiled and have no symbol of their own."""
_HARDENING: Final = {
    "-fstack-protector": "--enable-default-ssp", "-fcf-protection": "", "-fstack-clash-protection": "",
    "-D_FORTIFY_SOURCE": "", "-fasynchronous-unwind-tables": "",
    "-mbranch-protection": "--enable-standard-branch-protection",
    "-fno-omit-frame-pointer": "", "-mno-omit-leaf-frame-pointer": "", "-fzero-init-padding-bits": "",
    "-ftrivial-auto-var-init": "", "-Wformat": "", "-Wformat-security": "",
}  # fmt: skip
"""What a driver may be patched to turn on by itself, and the configure option that does the same, if there is one."""


class Deviation(NamedTuple):
    """One thing that will not be as it is on the client."""

    what: str
    effect: str

    def __str__(self) -> str:
        return f"{self.what} ({self.effect})"


class Source(NamedTuple):
    """A file that the folder of tarballs must hold: what it is called there, and where it is to be had."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asks for beyond the client's compiler.

    ``host``: the triple the toolchain shall run on, "" for the machine that builds it. ``gcc_source``: a folder or a
    tarball of gcc's sources, "stock" for what crosstool-NG itself offers, "" for upstream's release.
    ``gcc_revision``: a commit of gcc's repository instead. ``save_steps``: so that a step that failed can be taken
    again, for some disk.
    """

    host: str = ""
    gcc_source: str = ""
    gcc_revision: str = ""
    save_steps: bool = True


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to give to crosstool-NG, what it was made from, and what will differ."""

    probe: Probe
    host: str
    offer: Offer
    lines: tuple[str, ...]
    deviations: tuple[Deviation, ...]
    sources: tuple[Source, ...]

    @property
    def name(self) -> str:
        """For files and folders: compiler, target, host."""
        host = f"-on-{self.host}" if self.host else ""
        return f"gcc-{self.probe.version}-{self.probe.target}{host}"

    @property
    def text(self) -> str:
        """The recipe as a file: a defconfig, with comments that tell a person what it is."""
        head = [
            MAGIC,
            f"# for: {self.probe.label}",
            f"# target: {self.probe.target}",
            f"# runs on: {self.host or 'the machine that builds it'}",
            f"# ident: {self.probe.ident}",
            f"# written for: crosstool-NG {self.offer.version}",
            *(f"# needs: {source.name} from {source.url}" for source in self.sources),
            *(f"# differs: {deviation}" for deviation in self.deviations),
        ]
        return "\n".join((*head, "", *self.lines, ""))


def write(probe: Probe, offer: Offer, wishes: Wishes = Wishes()) -> Recipe:
    """The recipe for a compiler like the probed one. Raises ConfigError."""
    options = {name: value for name, _, value in (option.partition("=") for option in probe.options)}
    deviations: list[Deviation] = []
    lines = ['CT_CONFIG_VERSION="4"', "CT_EXPERIMENTAL=y", "CT_OBSOLETE=y"]
    lines += _housekeeping(offer, wishes)
    lines += target.lines(probe.target, options)
    if not probe.target.partition("-linux")[2]:
        deviations.append(Deviation(f"the target is called {probe.target}-gnu, not {probe.target}", LABEL))
    if wishes.host:
        lines += target.host_lines(wishes.host)
        if wishes.host == "arm-linux-gnueabihf":
            what = "Debian's and Ubuntu's compilers for armhf make programs for ARMv7"
            deviations.append(Deviation(what, "an ARMv6 Pi, a Pi 1 or Zero, cannot run the toolchain"))
    gcc_lines, sources = _gcc(probe, offer, wishes, deviations)
    lines += _package(probe, deviations) + _binutils(probe, offer, deviations) + _libc(probe, offer, deviations)
    lines += gcc_lines + _defaults(probe, options, offer, deviations)
    return Recipe(probe, wishes.host, offer, tuple(lines), tuple(deviations), tuple(sources))


def _housekeeping(offer: Offer, wishes: Wishes) -> list[str]:
    """A log that a file can hold, and steps that can be taken again."""
    lines = ["# CT_LOG_PROGRESS_BAR is not set", "CT_LOG_EXTRA=y", "# CT_PREFIX_DIR_RO is not set"]
    if wishes.save_steps:
        lines += ["CT_DEBUG_CT=y", "CT_DEBUG_CT_SAVE_STEPS=y"]
        if "DEBUG_CT_SAVE_STEPS_LAST_ONLY" in offer.features:
            lines.append("CT_DEBUG_CT_SAVE_STEPS_LAST_ONLY=y")
    return [*lines, "# CT_TOOLCHAIN_ENABLE_NLS is not set"]


def _package(probe: Probe, deviations: list[Deviation]) -> list[str]:
    """The package's name, which stands in every object. "GCC" is what gcc itself takes for none."""
    package = probe.package or "GCC"
    if not _PACKAGE.fullmatch(package):
        deviations.append(Deviation(f"the package's name {package!r} cannot be written into a configuration", LABEL))
        package = "GCC"
    return ["# CT_SHOW_CT_VERSION is not set", f'CT_TOOLCHAIN_PKGVERSION="{package}"']


def _gcc(
    probe: Probe, offer: Offer, wishes: Wishes, deviations: list[Deviation]
) -> tuple[list[str], list[Source]]:  # fmt: skip
    """Which gcc: the very release, if there is any way to it."""
    near = versions.nearest(offer, "gcc", probe.version)
    if near is None:
        raise ConfigError("this crosstool-NG offers no gcc")
    chosen = [f"CT_{near.symbol}=y"]
    if versions.key(near.version)[0] != versions.key(probe.version)[0]:
        major = versions.key(probe.version)[0]
        what = f"crosstool-NG {offer.version} knows no gcc {major}: it is treated like {near.version}"
        deviations.append(Deviation(what, "the build may fail"))
    if wishes.gcc_revision:
        if not _REVISION.fullmatch(wishes.gcc_revision):
            raise ConfigError(f"{wishes.gcc_revision[:60]!r} is no commit", "", "give all 40 hexadecimal digits")
        revision = ['CT_GCC_DEVEL_BRANCH=""', f'CT_GCC_DEVEL_REVISION="{wishes.gcc_revision}"']
        return ["CT_GCC_SRC_DEVEL=y", *revision, *chosen], []
    if wishes.gcc_source not in ("", "stock"):
        if not _PATH.fullmatch(wishes.gcc_source):
            raise ConfigError(
                f"{wishes.gcc_source[:200]!r} cannot be a place of sources",
                "crosstool-NG's scripts bear no blanks and no signs of a shell in paths",
            )
        return ["CT_GCC_SRC_CUSTOM=y", f'CT_GCC_CUSTOM_LOCATION="{wishes.gcc_source}"', *chosen], []
    _patches(probe, deviations)
    if near.exact:
        return chosen, []
    if wishes.gcc_source == "stock":
        deviations.append(Deviation(f"gcc {near.version} instead of {probe.version}", CODE))
        return chosen, []
    release = _release(probe)
    if release != probe.version:
        what = f"gcc {release}, the release before the snapshot {probe.version} {probe.date}".rstrip()
        deviations.append(Deviation(what, f"{CODE}; give its sources by --gcc-source, or its commit by --gcc-revision"))
    source = Source(f"gcc-{release}.tar.xz", _MIRROR.format(release))
    return ["CT_GCC_SRC_CUSTOM=y", f'CT_GCC_CUSTOM_LOCATION="{source.name}"', *chosen], [source]


def _release(probe: Probe) -> str:
    """The release a version is, or was made from: 14.2.1 of some date are the mends since 14.2.0."""
    parts = versions.key(probe.version)
    snapshot = len(parts) == 3 and parts[0] >= 5 and parts[2] > 0
    return f"{parts[0]}.{parts[1]}.0" if snapshot else probe.version


def _patches(probe: Probe, deviations: list[Deviation]) -> None:
    """Distributions patch their compilers, and call them by upstream's number."""
    label = probe.package or ("" if probe.ident in ("", f"GCC: (GNU) {probe.version}") else probe.ident)
    if label:
        what = f"upstream's sources, without the patches in {label!r}"
        deviations.append(Deviation(what, f"{CODE}; the distribution's own sources can be given by --gcc-source"))


def _binutils(probe: Probe, offer: Offer, deviations: list[Deviation]) -> list[str]:
    """The assembler's version, and the defaults that it was configured with."""
    near = versions.nearest(offer, "binutils", probe.binutils) if probe.binutils else None
    lines = []
    if near is None:
        deviations.append(Deviation("binutils of an unknown version", CODE))
    else:
        lines.append(f"CT_{near.symbol}=y")
        if not near.exact:
            deviations.append(Deviation(f"binutils {near.version} instead of {probe.binutils}", CODE))
    options = []
    for fact, option in ((probe.as_used_note, "x86-used-note"), (probe.as_relax, "x86-relax-relocations")):
        if fact in ("yes", "no"):
            options.append(f"--{'enable' if fact == 'yes' else 'disable'}-{option}")
    if probe.as_build_notes == "yes":
        options.append("--enable-generate-build-notes=yes")
    if probe.as_compress in ("none", "zlib", "zstd"):
        options.append(f"--enable-compressed-debug-sections={'none' if probe.as_compress == 'none' else 'all'}")
        if probe.as_compress == "zstd":
            options.append("--enable-default-compressed-debug-sections-algorithm=zstd")
    return [
        *lines,
        *([f'CT_BINUTILS_EXTRA_CONFIG_ARRAY="{" ".join(options)}"'] if options else []),
        "CT_BINUTILS_PLUGINS=y",
    ]


def _libc(probe: Probe, offer: Offer, deviations: list[Deviation]) -> list[str]:
    """The C library and the kernel's headers: for linking only, since jobs bring their own headers."""
    lines = []
    wanted = ((probe.libc, probe.libc_version), ("linux", probe.kernel))
    for package, version in wanted:
        near = versions.nearest(offer, package, version) if package and version else None
        if near is not None:
            lines.append(f"CT_{near.symbol}=y")
            if not near.exact:
                name = "kernel headers" if package == "linux" else package
                deviations.append(Deviation(f"{name} {near.version} instead of {version}", LINKING))
    return [*lines, "# CT_KERNEL_LINUX_INSTALL_CHECK is not set"]


def _defaults(probe: Probe, options: dict[str, str], offer: Offer, deviations: list[Deviation]) -> list[str]:
    """Languages, LTO, and gcc's configured defaults."""
    lines = ["CT_CC_LANG_CXX=y"] if "c++" in probe.languages else []
    lines.append("CT_CC_GCC_USE_LTO=y" if "--disable-lto" not in options else "# CT_CC_GCC_USE_LTO is not set")
    if "CC_GCC_LTO_ZSTD" in offer.features and "--disable-lto" not in options and versions.key(probe.version) >= (10,):
        lines.append("CT_CC_GCC_LTO_ZSTD=y" if "zstd" in probe.compression else "# CT_CC_GCC_LTO_ZSTD is not set")
    if "--enable-linker-build-id" in options:
        lines.append("CT_CC_GCC_BUILD_ID=y")
    style = options.get("--with-linker-hash-style", "")
    if style in ("gnu", "sysv", "both"):
        lines.append(f"CT_CC_GCC_LNK_HASH_STYLE_{style.upper()}=y")
    array = []
    if probe.pie == "yes":
        if "CC_GCC_ENABLE_DEFAULT_PIE" in offer.features:
            lines.append("CT_CC_GCC_ENABLE_DEFAULT_PIE=y")
        else:
            array.append("--enable-default-pie")
    for name, value in options.items():
        if name in _CARRIED:
            word = f"{name}={value}" if value else name
            if _ARRAY_WORD.fullmatch(word):
                array.append(word)
            else:
                deviations.append(Deviation(f"configured without {word}", CODE))
    array += ["--disable-multilib", "--enable-checking=release"]
    for flag in probe.driver_flags:
        name = next((name for name in _HARDENING if flag == name or flag.startswith((name + "=", name + "-"))), "")
        option = _HARDENING.get(name, "")
        if option and option not in array and option not in options:
            array.append(option)
        elif name and not option:
            deviations.append(
                Deviation(f"the client's driver adds {flag} by itself", "explicit options remove the difference")
            )
    if probe.ssp == "strong" and "--enable-default-ssp" not in array:
        array.append("--enable-default-ssp")
    return [*lines, f'CT_CC_GCC_EXTRA_CONFIG_ARRAY="{" ".join(array)}"']
