"""Which language a source file is in: by ``-x``, else by its suffix, as the drivers decide it."""

from __future__ import annotations

from typing import Final

from manycc.command.drivers import CLANG, GCC

SENT: Final = frozenset(
    {
        "c", "c++", "objective-c", "objective-c++",
        "cpp-output", "c++-cpp-output", "objective-c-cpp-output", "objective-c++-cpp-output",
        "assembler", "assembler-with-cpp",
    }
)  # fmt: skip
"""The languages whose compiles can be sent."""

ASSEMBLER: Final = "assembler"
ASSEMBLER_WITH_CPP: Final = "assembler-with-cpp"
MODULE: Final = "c++-module"

PREPROCESSED_SUFFIX: Final = {
    "c": ".i",
    "c++": ".ii",
    "objective-c": ".mi",
    "objective-c++": ".mii",
    "assembler-with-cpp": ".s",
}
"""Language → suffix of what its preprocessor makes."""

_ALIASES: Final = {
    "objc-cpp-output": "objective-c-cpp-output",
    "objc++-cpp-output": "objective-c++-cpp-output",
    "c++-system-header": "c++-header",
    "c++-user-header": "c++-header",
    "c++-header-unit-header": "c++-header",
}


def _by_suffix(rows: dict[str, str]) -> dict[str, str]:
    return {suffix: language for language, suffixes in rows.items() for suffix in suffixes.split()}


_COMMON: Final = {
    "c": ".c",
    "objective-c": ".m",
    "objective-c++": ".mm .M",
    "cpp-output": ".i",
    "c++-cpp-output": ".ii",
    "objective-c-cpp-output": ".mi",
    "objective-c++-cpp-output": ".mii",
    "assembler": ".s",
    "c-header": ".h",
    "c++-module": ".cppm .ixx .ccm .cxxm .c++m",
    "fortran": ".f .for .ftn .f90 .f95 .f03 .f08",
    "fortran-with-cpp": ".F .FOR .fpp .FPP .FTN .F90 .F95 .F03 .F08",
    "cuda": ".cu .cui",
    "d": ".d .dd .di",
}

_SUFFIXES: Final = {
    GCC: _by_suffix(
        {
            **_COMMON,
            "c++": ".cc .cp .cxx .cpp .c++ .C .CPP",
            "c++-header": ".hh .H .hp .hxx .hpp .HPP .h++ .tcc",
            "assembler-with-cpp": ".S .sx",
            "ada": ".ads .adb",
            "go": ".go",
            "modula-2": ".mod",
            "rust": ".rs",
        }
    ),
    CLANG: _by_suffix(
        {
            **_COMMON,
            "c++": ".cc .CC .cp .cxx .CXX .cpp .c++ .C .CPP",
            "c++-header": ".hh .H .hp .hxx .hpp .h++ .txx .tpp",
            "assembler-with-cpp": ".S",
            "ir": ".ll .bc",
            "cl": ".cl .clcpp",
            "hip": ".hip",
            "hlsl": ".hlsl",
            "ast": ".ast .pcm .iim",
        }
    ),
}

# A C++ driver takes these for C++ unless -x says otherwise.
_CXX_DRIVER: Final = {"c": "c++", "cpp-output": "c++-cpp-output", "c-header": "c++-header"}


def named_language(value: str) -> str:
    """The language of ``-x VALUE``; an unknown value is its own name. ``""`` for ``none``."""
    return "" if value == "none" else _ALIASES.get(value, value)


def suffix_of(path: str) -> str:
    """The last suffix of a path's file name with its dot, or ``""``."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:] if dot >= 0 else ""


def language_of(path: str, kind: str, cxx: bool) -> str | None:
    """The language of a file by its suffix; None if the driver would leave the file to the linker."""
    suffix = suffix_of(path)
    if kind == GCC and suffix == path:
        return None  # nothing but a suffix is a name
    language = _SUFFIXES[kind].get(suffix)
    if cxx and language is not None:
        return _CXX_DRIVER.get(language, language)
    return language


_SEARCH_VARIABLE: Final = {
    "c++": "CPLUS_INCLUDE_PATH",
    "objective-c": "OBJC_INCLUDE_PATH",
    "objective-c++": "OBJCPLUS_INCLUDE_PATH",
}


def search_variable(language: str) -> str:
    """The environment variable that names further system folders for a language."""
    return _SEARCH_VARIABLE.get(language, "C_INCLUDE_PATH")
