"""Why two compilers are not the same, in a sentence for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MAX_LABEL: Final = 200
_MAX_NAMES: Final = 4
_WORDS: Final = {
    "places": "the folders it is installed in",
    "defaults": "its built-in defaults",
    "gcc installation": "the gcc installation it uses",
    "loader cache": "the loader's cache",
}
_ORDER: Final = ("driver", "cc1", "cc1plus", "as", "objcopy", "specs", "libraries")


def difference(
    label_mine: str, components_mine: Mapping[str, bytes], label_theirs: str, components_theirs: Mapping[str, bytes]
) -> str:
    """Say what differs between the compiler here and the one there; "" if nothing does.

    Labels and components are those of ``Toolchain``; an empty label stands for no compiler at all.
    What comes from a peer may be anything: the sentence is short and printable whatever it holds.
    """
    mine, theirs = _printable(label_mine), _printable(label_theirs)
    if not mine:
        return f"no {theirs.partition(' ')[0] or 'such compiler'} here"
    if not theirs:
        return f"no {mine.partition(' ')[0]} there"
    if mine != theirs:
        return f"{theirs} there, {mine} here"
    names = sorted(
        (
            name
            for name in components_mine.keys() | components_theirs
            if components_mine.get(name) != components_theirs.get(name)
        ),
        key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name),
    )
    if not names:
        return ""
    if names == ["places"]:
        return f"the same {mine}, but installed in other folders"
    if len(names) > 1 and "places" in names:
        names.remove("places")  # follows from the others, or says less than they do
    words = [_WORDS.get(name) or _printable(name) for name in names]
    if len(words) > _MAX_NAMES:
        words[_MAX_NAMES - 1 :] = [f"{len(words) - _MAX_NAMES + 1} more parts"]
    listed = " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    verb = (
        "differs" if len(names) == 1 and names[0] not in ("libraries", "resources", "specs", "defaults") else "differ"
    )
    return f"the same {mine}, but {listed} {verb}: a patched build?"


def _printable(text: str) -> str:
    cut = text if len(text) <= _MAX_LABEL else text[: _MAX_LABEL - 1] + "…"
    return "".join(char if char.isprintable() else "?" for char in cut)
