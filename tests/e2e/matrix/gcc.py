"""What the tables of gcc cases share: short forms, and sources that bring out what most options change."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

from matrix.case import Case, Link

Files = Mapping[str, str | bytes | Link]

C: Final[Files] = {
    "a.c": """\
#include <stddef.h>
#include "shape.h"
static int hidden(int n) { return n * SCALE; }
int area(const struct shape *s)
{
    int sum = 0;
    for (size_t i = 0; i < s->count; i++)
        sum += hidden(s->sides[i]) > 3 ? s->sides[i] : 1;
    return sum;
}
const char *where(void) { return __FILE__; }
""",
    "shape.h": "#define SCALE 2\nstruct shape { unsigned long count; int sides[8]; };\n",
}
"""A C source with a header, a loop, a struct, a static function, a string and __FILE__."""

CXX: Final[Files] = {
    "a.cc": """\
#include "base.h"
namespace { struct Hidden : Base { int value() const override { return 3; } }; }
template <typename T> T twice(T x) { return x + x; }
inline int counted() { static int n = 0; return ++n; }
int use() {
    Hidden h;
    const Base &b = h;
    try { return twice(b.value()) + counted(); } catch (int e) { return e; }
}
""",
    "base.h": "struct Base { virtual ~Base() = default; virtual int value() const { return 1; } };\n",
}
"""A C++ source with virtual functions, a template, an anonymous namespace, an inline static and exceptions."""

PROGRAM: Final[Files] = {
    "a.c": """\
#include <stdio.h>
int classify(int n);
int main(int argc, char **argv)
{
    for (int i = 0; i < 5; i++)
        printf("%d\\n", classify(i - argc));
    return argv[0] == 0;
}
int classify(int n) { return n < 0 ? -1 : n > 2; }
""",
}
"""A whole program, to be linked and run."""


def gcc(name: str, options: str, files: Files = C, **more: Any) -> Case:
    """A command of gcc; ``options`` are words as the shell splits them."""
    return Case(f"gcc-{name}", ("gcc-12", *shlex.split(options)), files, **more)


def gxx(name: str, options: str, files: Files = CXX, **more: Any) -> Case:
    """The same, of g++."""
    return Case(f"gxx-{name}", ("g++-12", *shlex.split(options)), files, **more)


def sh(*commands: str) -> tuple[tuple[str, ...], ...]:
    """Commands as ``before`` and ``after`` hold them."""
    return tuple(tuple(shlex.split(command)) for command in commands)


def named(family: str, options: str) -> str:
    """A name for a case out of its options, which differ in nothing but signs now and then."""
    spelled = options.replace("--", "long-").replace("++", "-xx").replace("+", "-plus").replace("=", "-is-")
    return f"{family}-" + re.sub(r"[^A-Za-z0-9]+", "-", spelled).strip("-")
