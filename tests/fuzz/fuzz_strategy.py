"""Adversarial trees as a hypothesis strategy.

Few names in many folders, so that they collide; every way to say where to look and every way to ask, mixed; and steps
in which files come, go and change between compiles. Each file leaves its own mark in the object, so that it
shows which files were read, in which order. Most trees compile: names are taken from what is there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import fuzz_directives as ways
from fuzz_tree import (
    IN_PLACE,
    REPLACE,
    SAME_TIME,
    Age,
    Change,
    Compile,
    Folder,
    HardLink,
    Link,
    Move,
    Remove,
    Step,
    Tree,
    Write,
    apply,
)
from hypothesis import strategies as st

__all__ = ["apply", "trees"]

DEPTH: Final = 18
"""How deep files include each other at most. A path with a link for each level stays under half of the 40 links that
Linux follows: it may look a path up twice, when something is mounted meanwhile, and counts the links of both."""
FOLDERS: Final = (".", "a", "b", "a/sub", "c")
HEADERS: Final = ("x.h", "y.h", "z.h", "stdio.h", "n n.h", "linux/x.h", "é.h", "sub/x.h", "*x.h", "q'.h", "x.h.h")
DATA: Final = ("d.bin", "x.inc", "a/x.inc", "b/d.bin", "a/sub/x.inc")
ABSENT: Final = "no.h"
LINKS: Final = (
    ("la", "a"), ("la", "lb"), ("lb", "b"), ("b/up", "../a"), ("a/sub/up", ".."), ("la", "@ROOT@/b"),
    ("lb", "./la/sub"), ("c/x.h", "../a/x.h"), ("c/y.h", "../a/y.h"), ("x.h", "a/x.h"), ("a/x.h", "../b/x.h"),
    ("b/z.h", "../z.h"), ("b/x.h", "../la/sub/x.h"), ("a/y.h", "y2.h"), ("a/y2.h", "../b/y.h"),
    ("b/y.h", "@ROOT@/x.h"), ("x.h", "nowhere"), ("lb", "lb"), ("lc", "c/../a"),
    ("c/stdio.h", "/usr/include/stdio.h"), ("ln", "/usr/include/linux"),
)  # fmt: skip
PLACES: Final = (
    ".", "a", "b", "c", "a/sub", "la", "lb", "gen", "a/../b", "b/.", "@ROOT@/a", "@ROOT@/la", "a//sub/", "b/up",
    "la/..", "gen/deep", "lc", "@ROOT@/x.h", "/usr/include",
)  # fmt: skip
SEARCH: Final = (
    "-I {p}", "-I{p}", "-iquote {p}", "-isystem {p}", "-idirafter {p}", "-iquote{p}", "-isystem{p}", "-I {p}",
    "-iprefix @ROOT@/ -iwithprefix {p}", "-iprefix @ROOT@/ -iwithprefixbefore {p}", "-I={p}", "-I-",
)  # fmt: skip
COMMON: Final = (
    "-DSWITCH", "-DSWITCH=2", "-DNAME=x", '-DHDR="x.h"', "-DHDR=<y.h>", "-DHDR=NAME", "-USWITCH", "-g", "-O1",
    "-MD", "-MMD", "-MD -MP", "-Wall", "-std=gnu{std}", "-trigraphs", "-Wundef", "-w", "-Wcomment",
    "-Wsystem-headers", "-Wtrigraphs",
)  # fmt: skip
RARE: Final = (
    "-std=c99", "-ansi", "-undef", "-nostdinc", "-nostdinc++", "-Wmissing-include-dirs", "-Winvalid-pch",
    "-DHDR(x)=<x>", "-traditional-cpp", "-ftrack-macro-expansion=0", "-P", "-C", "-isysroot @ROOT@",
    "--sysroot=@ROOT@", "-fms-extensions", "-fno-canonical-system-headers", "-fworking-directory -g", "-x c",
    "-x c++", "-remap", "-fpreprocessed", "-Werror", "-DSET=1", '-D__has_include(x)=1', "-fextended-identifiers",
)  # fmt: skip
VARIABLES: Final = (
    ("CPATH", "a"), ("CPATH", "a:"), ("CPATH", ":b:a"), ("C_INCLUDE_PATH", "b"), ("CPLUS_INCLUDE_PATH", "b"),
    ("CPATH", "@ROOT@/la"), ("C_INCLUDE_PATH", "gen:a/sub"), ("CPATH", "gen"), ("CPLUS_INCLUDE_PATH", "@ROOT@/c:."),
)  # fmt: skip
DRIVERS: Final = (
    ("gcc", "u.c"), ("gcc", "u.c"), ("g++", "u.cc"), ("g++", "u.cc"), ("gcc", "u.S"), ("clang-14", "u.c"),
    ("gcc", "u.s"), ("clang++-14", "u.cc"), ("clang-14", "u.S"),
)  # fmt: skip

_PARTS: Final = st.integers(0, 3)
_COIN: Final = st.booleans()


def _pick(items: Sequence[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(items)


_KIND: Final = _pick(
    ("plain", "plain", "plain", "plain", "plain", "plain", "computed", "computed", "computed", "exists", "exists",
     "exists", "decoy", "decoy", "raw", "raw", "trigraph", "reads", "given", "alias")
)  # fmt: skip
_FOCUS: Final = _pick(
    ("plain", "computed", "exists", "trigraph", "decoy", "raw", "reads", "given", "alias", "links", "computed", "links")
)
"""Most of a tree is about one thing: what is rare in all trees is thick in some."""
_SPELLING: Final = _pick(
    (
        "base",
        "base",
        "base",
        "base",
        "base",
        "base",
        "as is",
        "as is",
        "as is",
        "dot",
        "slashes",
        "around",
        "up",
        "up",
        "absolute",
        "link",
        "link",
    )
)
_CHANGE: Final = _pick(
    ("edit", "edit", "edit", "redirect", "redirect", "redirect", "remove", "create", "create", "create", "create",
     "create", "swap", "link", "retarget", "move", "hard", "folder", "copy", "age")
)  # fmt: skip
_SWAP: Final[st.SearchStrategy[Change]] = st.sampled_from(
    (Move("a", "a2"), Link("a", "b"), Link("b", "a/sub"), Move("a2", "a"), Move("b", "gen"))
)
_HOW: Final = _pick((IN_PLACE, REPLACE, SAME_TIME))
_ENDS: Final = _pick(("", "", "", "", "", "no newline", "crlf", "bom", "odd", "nul", "backslash"))
_GUARDS: Final = _pick(("count", "count", "guard", "once", "same guard", "late once", "pragma once"))


@dataclass
class _State:
    """What the tree holds so far."""

    language: str
    assembler: bool
    focus: str
    trigraphs: bool
    bare: bool
    ms: bool
    names: list[str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    current: dict[str, bytes] = field(default_factory=dict)
    marks: int = 0


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A tree of one language, in one to four steps."""
    driver, unit = draw(st.sampled_from(DRIVERS))
    focus = draw(_FOCUS)
    state = _State(
        language="c++" if unit.endswith(".cc") else "c",
        assembler=unit[-2:] in (".S", ".s"),
        focus=focus,
        trigraphs=focus == "trigraph" or draw(st.integers(0, 7)) == 7,
        bare=unit.endswith(".s"),
        ms=driver.startswith("clang") and (focus == "alias" or draw(_PARTS) == 3),
    )
    source = draw(_pick((unit, unit, f"a/{unit}")))
    for _ in range(draw(st.integers(1, 5))):
        folder, name = draw(_pick(FOLDERS)), draw(_pick(HEADERS[:4] if draw(_COIN) else HEADERS))
        state.names.append(os.path.normpath(f"{folder}/{name}"))
    changes: list[Change] = [Folder("a/sub"), Folder("b"), Folder("c")]
    number = draw(_PARTS) + (3 if focus == "links" else -1)
    changes += [Link(*draw(st.sampled_from(LINKS))) for _ in range(number)]
    changes += [Write(path, _content(draw, state, path)) for path in dict.fromkeys(state.names)]
    if focus == "links":
        changes += _neighbours(draw, state)
    if draw(st.integers(0, 7)) < 7:
        changes += [Write(name, b".byte %d\n" % (251 + number)) for number, name in enumerate(DATA)]
    changes += [Age(draw(st.sampled_from(state.names)), draw(st.integers(0, 1))) for _ in range(draw(_PARTS) // 2)]
    real = source
    if draw(st.integers(0, 9)) == 9:
        real = f"c/real-{unit}"
        changes.append(Link(source, f"@ROOT@/{real}"))
    changes.append(Write(real, _content(draw, state, source, 1)))
    compiles = [_compile(draw, state, driver, source) for _ in range(1 + draw(_PARTS) // 3)]
    steps = [Step(tuple(changes), tuple(compiles))]
    for _ in range(draw(_PARTS)):
        changed = tuple(_change(draw, state, source) for _ in range(draw(st.integers(1, 3))))
        steps.append(Step(changed, tuple(compiles), restart=draw(st.integers(0, 9)) == 9))
    return Tree(tuple(steps))


def _neighbours(draw: st.DrawFn, state: _State) -> list[Change]:
    """A header under two names, by a link, that includes a neighbour: which one depends on the name it was found by."""
    here, there = draw(_pick(FOLDERS)), draw(_pick(FOLDERS))
    op = draw(_pick(('"w.h"', "<w.h>", '"../c/w.h"', '"./w.h"')))
    state.names += [f"{here}/v.h", f"{there}/v2.h"]
    return [
        Write(f"{here}/v.h", f"#pragma once\n#include {op}\n".encode()),
        *(Write(f"{folder}/w.h", _content(draw, state, f"{folder}/w.h")) for folder in dict.fromkeys((here, there))),
        Link(f"{there}/v2.h", draw(_pick((f"{os.path.relpath(here, there)}/v.h", f"@ROOT@/{here}/v.h")))),
    ]


def _content(draw: st.DrawFn, state: _State, path: str, least: int = 0) -> bytes:
    """A file's text: what it asks for, a guard round it, a mark, and what can go wrong with its end or encoding."""
    if state.contents and least == 0 and draw(st.integers(0, 4)) == 4:
        state.current[path] = draw(st.sampled_from(state.contents))
        return state.current[path]
    state.marks += 1
    number = state.marks % 250
    mark = f" .byte {number}\n" if state.assembler else f'__asm__(".byte {number}");\n'
    parts = [_request(draw, state, path) for _ in range(draw(st.integers(least, 3)))]
    parts.insert(draw(st.integers(0, len(parts))), mark)
    body = "".join(parts)
    guard, end = draw(_GUARDS), draw(_ENDS)
    if state.assembler:
        end = end if end in ("no newline", "bom", "backslash") else ""
        guard = guard.replace("pragma ", "")
    if state.bare:
        text = body
    elif guard == "guard":
        text = f"#ifndef G{number}\n#define G{number}\n{body}#endif\n"
    elif guard == "same guard":
        text = f"#ifndef GUARD\n#define GUARD\n{body}#endif\n"
    elif guard == "once":
        text = f"#pragma once\n{body}"
    elif guard == "pragma once":
        text = f'_Pragma("once")\n#if __COUNTER__ < {DEPTH}\n{body}#endif\n'
    elif guard == "late once":
        text = f"#if __COUNTER__ < {DEPTH}\n{body}#endif\n#pragma once\n"
    else:
        text = f"#if __COUNTER__ < {DEPTH}\n{body}#endif\n"
    data = _encoded(text, end)
    state.contents.append(data)
    state.current[path] = data
    return data


def _encoded(text: str, end: str) -> bytes:
    data = text.encode()
    if end == "no newline":
        return data.rstrip(b"\n")
    if end == "crlf":
        return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if end == "bom":
        return b"\xef\xbb\xbf" + data
    if end == "odd":
        return b"/* \xff\xfe \x1a */\n" + data
    if end == "nul":
        return b"/* \0 */\n" + data
    if end == "backslash":
        return data + b"// \\"
    return data


def _request(draw: st.DrawFn, state: _State, path: str) -> str:
    """One thing a file asks for, and what stands round it."""
    state.marks += 1
    k = state.marks
    name = _spelled(draw, state, path)
    unsure = name.startswith(("la", "lb", "lc", "b/up"))
    op = f"<{name}>" if draw(_COIN) else f'"{name}"'
    kind = draw(_KIND)
    if state.bare:
        kind = "reads"
    elif draw(_COIN):
        kind = state.focus
    if draw(st.integers(0, 14)) == 14 and "@" not in op:
        op = op[:2] + "\\\n" + op[2:]
    words = {"op": op, "name": name, "stem": name.removesuffix(".h"), "k": k, "absent": ABSENT}
    words["second"] = os.path.basename(draw(st.sampled_from(state.names)))
    before = after = ""
    rows: tuple[str, ...] = ways.CONDITIONS
    directive = draw(_pick(ways.DIRECTIVES))
    if kind == "computed":
        before, words["op"] = (part.format(**words) for part in draw(st.sampled_from(ways.COMPUTED)))
    elif kind == "given":
        words["op"] = "HDR"
        before = f"#ifndef HDR\n#define HDR {op}\n#endif\n"
    elif kind == "trigraph":
        directive = draw(_pick(ways.TRIGRAPHS))
        before, after = ("", "") if state.trigraphs else ("#if 0\n", "#endif\n")
    elif kind == "exists":
        rows = ways.EXISTENCE
    elif kind == "decoy" and not state.assembler:
        rows = ways.DECOYS
    elif kind == "raw" and state.language == "c++":
        rows = ways.RAW_DECOYS
    elif kind == "reads":
        # Never a file that may ask for itself: assemblers follow without end.
        words["name"] = draw(_pick((*DATA[:2], *DATA, "./x.inc", "sub/x.inc", "la/x.inc", "@ROOT@/b/d.bin")))
        return draw(_pick(ways.ASSEMBLY if state.assembler else ways.EMBEDDED)).format(**words)
    elif kind == "alias" and state.ms:
        before = '#pragma include_alias("{absent}", {op})\n'.format(**words)
        words["op"] = f'"{ABSENT}"'
    if draw(st.integers(0, 9)) == 9 and kind == "plain":
        words["op"] = op = f'"{ABSENT}"'
    inc = directive.format(**words)
    if kind != "exists" and (draw(_COIN) or unsure or op == f'"{ABSENT}"'):
        question = "__has_include_next" if "_next" in directive else "__has_include"
        inc = f"#if {question}({op})\n{inc}#endif\n"
    other = directive.format(**{**words, "op": f'"{ABSENT}"' if draw(st.integers(0, 15)) == 15 else op})
    return before + draw(_pick(rows)).format(inc=inc, other=other, **words) + after


def _spelled(draw: st.DrawFn, state: _State, path: str) -> str:
    """A name as a file at ``path`` may write it."""
    target = draw(st.sampled_from(state.names))
    base = os.path.basename(target)
    how = draw(_SPELLING)
    if how == "base":
        return "sub/x.h" if target.endswith("sub/x.h") and draw(_COIN) else base
    if how == "dot":
        return f"./{target}"
    if how == "slashes":
        return target.replace("/", "//")
    if how == "around":
        return f"a/sub/../../{target}"
    if how == "up":
        return os.path.relpath(target, os.path.dirname(path) or ".")
    if how == "absolute":
        return f"@ROOT@/{target}"
    if how == "link":
        return f"{draw(_pick(('la', 'lb', 'b/up', 'la/..', 'lc')))}/{base}"
    return target


def _compile(draw: st.DrawFn, state: _State, driver: str, source: str) -> Compile:
    """A command: where to look, what is forced in, what else."""
    words = [driver, *["-trigraphs"] * state.trigraphs, *["-fms-extensions"] * state.ms]
    for _ in range(draw(st.integers(0, 5))):
        row = draw(_pick(SEARCH[:8] if draw(st.integers(0, 7)) else SEARCH))
        words += row.format(p=draw(_pick(PLACES))).split()
    if draw(st.integers(0, 5)) < (2 if state.focus == "links" else 5):
        words += [f"-I@ROOT@/{folder}" for folder in FOLDERS]
    if draw(_PARTS) == 3:
        words += [draw(_pick(("-include", "-imacros"))), _spelled(draw, state, "")]
    for _ in range(draw(_PARTS)):
        words += draw(_pick(COMMON)).format(std="++17" if state.language == "c++" else "11").split()
    if draw(st.integers(0, 6)) == 6:
        words += draw(_pick(RARE)).split()
    cwd = "."
    if draw(st.integers(0, 7)) == 7:
        cwd = draw(_pick(("a", "b", "la")))
        source = os.path.relpath(source, "a") if cwd == "a" else f"@ROOT@/{source}"
    else:
        source = draw(_pick((source, source, source, source, f"./{source}", f"@ROOT@/{source}", f"a/../{source}")))
    env = tuple(draw(st.sampled_from(VARIABLES)) for _ in range(draw(st.integers(0, 5)) // 5))
    return Compile((*words, source), cwd, env)


def _change(draw: st.DrawFn, state: _State, source: str) -> Change:
    kind = draw(_CHANGE)
    path = draw(st.sampled_from(state.names))
    if kind == "edit":
        target = path if draw(_COIN) else source
        return Write(target, _content(draw, state, target, int(target == source)), draw(_HOW))
    if kind == "redirect":  # the same text, but for one header's name
        target = source if draw(_COIN) else path
        old, new = (draw(_pick(("x.h", "y.h", "z.h"))).encode() for _ in range(2))
        data = state.current.get(target, b"")
        state.current[target] = data.replace(old, new)
        return Write(target, state.current[target], draw(_HOW))
    if kind == "remove":
        return Remove(path)
    if kind == "create":
        folder, name = draw(_pick((*FOLDERS, *FOLDERS, "gen", "gen/deep"))), draw(_pick((*HEADERS[:4], ABSENT)))
        path = os.path.normpath(f"{folder}/{os.path.basename(path) if draw(_COIN) else name}")
        data = _content(draw, state, path)
        state.names.append(path)
        return Write(path, data)
    if kind == "swap":  # the folder gets another name, and a link its old one
        return draw(_SWAP)
    if kind in ("link", "retarget"):
        return Link(*draw(st.sampled_from(LINKS)))
    if kind == "move":
        return Move(path, draw(st.sampled_from(state.names)))
    if kind == "hard":
        return HardLink(os.path.normpath(f"{draw(_pick(FOLDERS))}/{draw(_pick(HEADERS[:4]))}"), path)
    if kind == "age":
        return Age(path, draw(st.integers(0, 1)))
    if kind == "folder":
        return Folder(draw(_pick(("gen", "gen/deep", "c/x.h", "x.h.gch", "no.h", "a/sub/sub"))))
    return Write(path, draw(st.sampled_from(state.contents)), draw(_HOW))
