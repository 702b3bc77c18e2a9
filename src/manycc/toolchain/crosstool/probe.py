"""What a client's gcc is, as far as an equal one must be built like it: a record that can be carried about as JSON.

The file is made on one machine and read on another, and what it says ends up in a file that a shell reads. So a probe
is checked whole when it is read: sizes, types, and an alphabet that means nothing to a shell.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from manycc.errors import ConfigError

FORMAT: Final = 1
MAX_FILE: Final = 256 * 1024
_MAX_TEXT: Final = 400
_MAX_ITEMS: Final = 200

SAFE: Final = re.compile(r"[\w .,:+~@/()=%^-]*", re.ASCII)
"""Texts that stay what they are between a shell's double quotes."""

_configured: Final = re.compile(r"^Configured with: (.*)$", re.MULTILINE)
_compression: Final = re.compile(r"^Supported LTO compression algorithms: (.*)$", re.MULTILINE)
_date: Final = re.compile(r"^gcc version \S+ (\d{8})\b", re.MULTILINE)
_tool_version: Final = re.compile(r"(?<![\w.])(\d+\.\d+(?:\.\d+)?)")
_ident: Final = re.compile(r'^\s*\.ident\s+"(.*)"\s*$', re.MULTILINE)
_package: Final = re.compile(r"GCC: \((.*?)\) \d")
_target: Final = re.compile(r"[a-z0-9_]+(-[a-z0-9_.]+){1,3}")


@dataclass(frozen=True, slots=True)
class Probe:
    """A gcc: versions, target and the defaults it was built with.

    ``options`` are those of its configure run that are not about places, ``driver_flags`` what its driver gives to
    cc1 by itself. ``package`` stands in parentheses in ``ident``; ``date`` is that of a snapshot, else "". Of the
    assembler: does it write ``.note.gnu.property`` by itself (``as_used_note``), relaxed x86 relocations
    (``as_relax``), build notes (``as_build_notes``), each "yes", "no", or "" where that means nothing; and with what
    does it compress debug sections (``as_compress``).
    """

    target: str
    version: str
    date: str = ""
    package: str = ""
    ident: str = ""
    options: tuple[str, ...] = ()
    driver_flags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("c",)
    compression: tuple[str, ...] = ()
    pie: str = ""
    ssp: str = ""
    libc: str = ""
    libc_version: str = ""
    kernel: str = ""
    binutils: str = ""
    as_used_note: str = ""
    as_compress: str = ""
    as_relax: str = ""
    as_build_notes: str = ""

    @property
    def label(self) -> str:
        """The compiler in a few words."""
        package = f" ({self.package})" if self.package else ""
        return f"gcc {self.version}{' ' + self.date if self.date else ''}{package} for {self.target}"


_PLACES: Final = (
    "--prefix", "--exec-prefix", "--bindir", "--sbindir", "--libdir", "--libexecdir", "--mandir", "--infodir",
    "--datadir", "--includedir", "--sysconfdir", "--localstatedir", "--srcdir", "--with-gxx-include-dir",
    "--with-build-config",
    "--program-suffix", "--program-prefix", "--build", "--host", "--target", "--with-bugurl", "--with-pkgversion",
    "--cache-file", "--with-sysroot", "--with-local-prefix", "--with-slibdir", "--enable-offload-targets", "--with-as",
    "--with-ld", "--enable-languages",
)  # fmt: skip
"""Options about places, names and languages: other fields tell them, or nothing depends on them."""


def options_of(said: str) -> tuple[str, ...]:
    """The configure options that ``gcc -v`` tells, without those about places."""
    found = _configured.search(said)
    if found is None:
        return ()
    try:
        words = shlex.split(found[1])
    except ValueError:
        words = found[1].split()
    options = (word for word in words if word.startswith("--") and word.partition("=")[0] not in _PLACES)
    return tuple(dict.fromkeys(word for word in options if len(word) <= _MAX_TEXT and SAFE.fullmatch(word)))


def driver_flags_of(said: str) -> tuple[str, ...]:
    """What the driver tells cc1 by itself that changes code: the -f, -m and -W options of ``gcc -v -### -c``."""
    for line in said.splitlines():
        program, _, rest = line.strip().partition(" ")
        if program.rstrip('"').endswith("/cc1"):
            try:
                words = shlex.split(rest)
            except ValueError:
                return ()
            flags = (word for word in words if word.startswith(("-f", "-m", "-W", "-D")) and SAFE.fullmatch(word))
            return tuple(dict.fromkeys(flags))
    return ()


def compression_of(said: str) -> tuple[str, ...]:
    """With what ``gcc -v`` says it compresses LTO objects."""
    found = _compression.search(said)
    return tuple(found[1].split()) if found else ()


def date_of(said: str) -> str:
    """The date that ``gcc -v`` shows between development releases; "" for a release."""
    found = _date.search(said)
    return found[1] if found else ""


def tool_version(said: str) -> str:
    """The version in the first line of ``as --version`` and its like: the last number there, as GNU has it.

    "GNU assembler (GNU Binutils for Debian) 2.40", "… version 2.40-14.fc39", "… (GNU Binutils for Raspbian) 2.35.2".
    """
    line = said.strip().partition("\n")[0]
    found = _tool_version.findall(line)
    return str(found[-1]) if found else ""


def ident_of(assembly: str) -> tuple[str, str]:
    """The .ident text of a compiled file, and the package's name in it ("" if it is upstream's "GNU")."""
    idents = _ident.findall(assembly)
    if not idents:
        return "", ""
    package = _package.match(idents[-1])
    return idents[-1], "" if package is None or package[1] == "GNU" else package[1]


def libc_of(macros: Mapping[str, str], target: str) -> tuple[str, str]:
    """The C library that ``<features.h>`` tells, and its version, which musl keeps for itself."""
    if "__GLIBC__" in macros:
        return "glibc", f"{macros['__GLIBC__']}.{macros.get('__GLIBC_MINOR__', '0')}"
    return ("musl", "") if "musl" in target else ("", "")


def kernel_of(macros: Mapping[str, str]) -> str:
    """The kernel that the installed headers are of: major and minor; "" without them."""
    try:
        code = int(macros["LINUX_VERSION_CODE"])
    except (KeyError, ValueError):
        return ""
    return f"{code >> 16}.{code >> 8 & 255}"


def to_json(probe: Probe) -> dict[str, Any]:
    """For ``from_json``, here or on another machine."""
    return {"crosstool_probe": FORMAT, **asdict(probe)}


def from_json(text: str, path: str) -> Probe:
    """A probe out of the text of the file at ``path``. Raises ConfigError."""
    try:
        if len(text) > MAX_FILE:
            raise ValueError("it is too long to be one")
        given = json.loads(text)
        for key in ("crosstool", "toolchain"):
            if isinstance(given, dict) and isinstance(given.get(key), dict):
                given = given[key]
        if not isinstance(given, dict) or given.get("crosstool_probe") != FORMAT:
            raise ValueError(f'there is no "crosstool_probe": {FORMAT}')
        known = [field.name for field in fields(Probe) if field.name in given]
        probe = Probe(**{name: _checked(name, given[name]) for name in known})
        if not _target.fullmatch(probe.target) or not re.fullmatch(r"\d+(\.\d+){1,3}", probe.version):
            raise ValueError("its target or its version is none")
        return probe
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no probe of a compiler",
            str(error),
            "make one on the client: manycc toolchain probe --json > FILE",
        ) from error


def _checked(name: str, value: Any) -> Any:
    """A field's value: a text, or several. Raises ValueError."""
    several = name in ("options", "driver_flags", "languages", "compression")
    if isinstance(value, list) is not several or (several and len(value) > _MAX_ITEMS):
        raise ValueError(f"{name} is no {'list of texts' if several else 'text'}")
    for text in value if several else [value]:
        if not isinstance(text, str) or len(text) > _MAX_TEXT or not SAFE.fullmatch(text):
            raise ValueError(f"{name} is no short, plain text")
    return tuple(value) if several else value
