"""Which files a compiler opens to speak the user's language, so that a node's compiler speaks it too.

Even where nothing is translated they matter: only under a UTF-8 locale does gcc write typographic
quotes. The C library's rules are followed loosely: of all the places where it would look for a
name, every file that exists is named, so that it chooses among the same ones elsewhere.
"""

from __future__ import annotations

import glob
import os
import re
import struct
from collections.abc import Iterable, Mapping
from typing import Final

_VARIABLES: Final = ("LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LANG", "LANGUAGE", "LOCPATH")
_LOCALES: Final = "/usr/lib/locale"
_ARCHIVE: Final = _LOCALES + "/locale-archive"
_ALIASES: Final = "/usr/share/locale/locale.alias"
_CATALOGUES: Final = ("/usr/share/locale", "/usr/share/locale-langpack")
_GCONV: Final = ("/usr/lib/gconv", "/usr/lib64/gconv", "/usr/lib/*/gconv")
_CATEGORIES: Final = ("LC_CTYPE", "LC_MESSAGES/SYS_LC_MESSAGES")
_ARCHIVE_MAGIC: Final = 0xDE020109
_MAX_CACHED: Final = 64

_domain: Final = re.compile(r"(?:gcc|cpplib)(?:-\d+)?\.mo|(?:gas|bfd|opcodes|binutils|libc)\.mo")
_name: Final = re.compile(r"([A-Za-z]+)(_[A-Za-z]+)?(\.[\w-]+)?(@\w+)?")

_found: dict[tuple[str | None, ...], tuple[str, ...]] = {}


def locale_paths(env: Mapping[str, str]) -> tuple[str, ...]:
    """The existing files, as spelled by the C library, that setlocale and gettext read for ``env``.

    Empty for the C locale. Remembered for each set of locale variables.
    """
    get = env.get
    key = tuple([get(name) for name in _VARIABLES])
    found = _found.get(key)
    if found is None:
        if len(_found) >= _MAX_CACHED:
            _found.clear()
        found = _found[key] = tuple(dict.fromkeys(_search(*key)))
    return found


def _search(
    everything: str | None, ctype: str | None, messages: str | None, lang: str | None, language: str | None,
    locale_path: str | None,
) -> list[str]:  # fmt: skip
    chosen = dict.fromkeys(everything or category or lang or "C" for category in (ctype, messages))
    names = [name for name in chosen if name not in ("C", "POSIX") and _name.fullmatch(name)]
    if not names:
        return []
    variants = [variant for name in names for variant in _variants(name)]
    candidates = [_ALIASES]
    if not locale_path and _in_archive(variants):
        candidates.append(_ARCHIVE)
    for folder in [*(locale_path or "").split(":"), _LOCALES]:
        if folder.startswith("/"):
            candidates += [f"{folder}/{variant}/{category}" for variant in variants for category in _CATEGORIES]
    catalogues = _catalogues(variants, language)
    candidates += catalogues
    gconv = [folder for pattern in _GCONV for folder in glob.glob(pattern)]
    candidates += [f"{folder}/gconv-modules.cache" for folder in gconv]
    if catalogues and not all("utf8" in _normalised(name) for name in names):
        # Translations are kept in UTF-8: to write them in another character set takes a converter.
        candidates += [path for folder in gconv for path in sorted(glob.glob(folder + "/**", recursive=True))]
    return [path for path in candidates if os.path.isfile(path)]


def _variants(name: str) -> Iterable[str]:
    """The names tried for ``language_TERRITORY.codeset@modifier``, in the C library's two spellings of
    the codeset, with and without each of the parts that may be left out."""
    parts = _name.fullmatch(name)
    if parts is None:
        return
    language, territory, codeset, modifier = (part or "" for part in parts.groups())
    for at in dict.fromkeys((modifier, "")):
        for where in dict.fromkeys((territory, "")):
            for charset in dict.fromkeys((codeset, f".{_normalised(codeset)}" if codeset else "", "")):
                yield language + where + charset + at


def _normalised(codeset: str) -> str:
    plain = "".join(char for char in codeset if char.isalnum()).lower()
    return "iso" + plain if plain.isdigit() else plain


def _catalogues(variants: Iterable[str], language: str | None) -> list[str]:
    """The message catalogues of compilers and assemblers. LANGUAGE, a list, goes before the locale."""
    wanted = [variant for name in (language or "").split(":") for variant in _variants(name)]
    found: list[str] = []
    for folder in _CATALOGUES:
        for name in dict.fromkeys((*wanted, *variants)):
            place = f"{folder}/{name}/LC_MESSAGES"
            try:
                found += [f"{place}/{entry}" for entry in sorted(os.listdir(place)) if _domain.fullmatch(entry)]
            except OSError:
                continue
    return found


def _in_archive(variants: Iterable[str]) -> bool:
    """Whether the archive holds one of the locales. It can be large: it is named only where needed."""
    try:
        with open(_ARCHIVE, "rb") as archive:
            magic, _, _, _, _, offset, used = struct.unpack("=7I", archive.read(28))
            if magic != _ARCHIVE_MAGIC or used > 16 * 1024 * 1024:
                return True
            archive.seek(offset)
            strings = b"\0" + archive.read(used) + b"\0"
    except (OSError, struct.error):
        return False
    return any(b"\0" + os.fsencode(variant) + b"\0" in strings for variant in variants)
