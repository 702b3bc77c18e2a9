"""The scanner against directives in every disguise, with the compiler as the judge."""

from __future__ import annotations

import random
import subprocess

import pytest
from inputs_support import compiler_opens

from manycc.inputs.scan import (
    EXISTS_NAME,
    EXISTS_UNKNOWN,
    EXISTS_WRAPPER,
    FAR,
    INCBIN,
    ONCE,
    OPTIONS,
    PCH,
    SYSTEM,
    TIMESTAMP,
    VOLATILE,
    scan,
)
from manycc.testing.fileview import Tree


@pytest.mark.parametrize(
    "text",
    [
        b'#include "x.h"',
        b'#include"x.h"',
        b'  #  include  "x.h"  ',
        b'%:include "x.h"',
        b'??=include "x.h"',
        b'#/* a */include/* b\n c */"x.h"',
        b'# /* a\n b */ include "x.h"',
        b'/* a\n b */ # include "x.h"',
        b'#\\\ninclude "x.h"',
        b'#inc\\\nlude "x.h"',
        b'#inc\\  \t\r\nlude "x.h"',
        b'#inc??/\nlude "x.h"',
        b'#include "x\\\n.h"',
        b'\xef\xbb\xbf#include "x.h"',
        b'#\0include\0"x.h"',
        b'\f#\vinclude\f"x.h"',
        b'int a;\r#include "x.h"\rint b;\r',
        b'#include "x.h"\r\n',
        b'#include_next "x.h"',
        b'#import "x.h"',
        b'#if __has_include("x.h")',
        b'#if __has_include ( "x.h" )',
        b'#if __has_include/**/(/**/"x.h"/**/)',
        b'#elif defined(A) && __has_include_next("x.h")',
        b'#if 0\n#include "x.h"\n#endif',
        b'char *s = "src/*.c";\n#include "x.h"',
        b'// http:/*\n#include "x.h"',
        b'R"(\n)" /*\n#include "x.h"',
        b'a \'"\' \n#include "x.h"',
        b'#error don\'t\n#include "x.h"',
        b'#include "x.h" // trailing',
    ],
)
def test_quoted_name_is_found(text: bytes) -> None:
    assert "x.h" in scan(text).quoted


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"#include<x.h>", "x.h"),
        (b"#include <a b,c.h>", "a b,c.h"),
        (b"#include <a'b\"c.h>", "a'b\"c.h"),
        (b"#include <sys/*.h>", "sys/*.h"),
        (b"#if __has_include(<x.h>)", "x.h"),
        (b"#if __has_include__(<x.h>)", "x.h"),
        (b"#include <\xff.h>", "\udcff.h"),
        ("#include <é.h>".encode(), "é.h"),
    ],
)
def test_angled_name_is_found(text: bytes, name: str) -> None:
    assert scan(text).angled == (name,)


def test_backslash_in_a_name_is_no_escape() -> None:
    assert scan(b'#include "a\\b.h"').quoted == ("a\\b.h", "a/b.h")  # the second for -fms-compatibility
    assert scan(b'#include "q\\"').quoted == ("q\\", "q/")


@pytest.mark.parametrize(
    ("text", "operands"),
    [
        (b"#include MACRO", ("MACRO",)),
        (b"#include MACRO // why", ("MACRO",)),
        (b"#include MACRO /* why */", ("MACRO",)),
        (b"# /* a */ include /* b */ MACRO", ("MACRO",)),
        (b"/* a\n b */ #include MACRO", ("MACRO",)),
        (b"/* a */ #include MACRO", ("MACRO",)),
        (b"#include STR(x.h)", ("STR(",)),
        (b"#include A B", ("A(",)),
        (b"#include <x.h CLOSE", ("?",)),
        (b"#inc\\\nlude MAC\\\nRO", ("MACRO",)),
        (b"#include \\u00e9", ("é",)),
        ("#include é".encode(), ("é",)),
        (b"#import MACRO\r#include OTHER\r", ("MACRO", "OTHER")),
        (b'char *s = "/*"; \n#include MACRO', ("MACRO",)),
        (b'// "/*\n#include MACRO', ("MACRO",)),
        (b'R"(\n/* )"\n#include MACRO', ("MACRO",)),
        (b"/*/ a */\n#include MACRO", ("MACRO",)),
        (b"#include 'a/*b'\n#include MACRO", ("MACRO",)),
        (b"#include <a/*b>\n#include MACRO", ("MACRO",)),
        (b"// a ??/\n/* b\n#include MACRO\n*/", ("MACRO",)),
    ],
)
def test_computed_operand_is_found(text: bytes, operands: tuple[str, ...]) -> None:
    assert scan(text).computed == operands


@pytest.mark.parametrize(
    "text",
    [
        b"// use #include MACRO here",
        b"/* use #include MACRO here */",
        b"/*\n * First\n * #include MACRO\n */",
        b"/*\n #include MACRO\n */",
        b"int a; #include MACRO",
        b"#include 123",
        b"#include",
        b"#includes MACRO",
        b"#define X #include MACRO",
    ],
)
def test_what_cannot_be_a_computed_include_costs_nothing(text: bytes) -> None:
    assert scan(text).computed == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"#if __has_include(MACRO)", (EXISTS_NAME, "MACRO")),
        (b"#elif 1 && __has_include(MACRO)", (EXISTS_NAME, "MACRO")),
        (b"#define HAS __has_include(MACRO)", (EXISTS_NAME, "MACRO")),
        (b"#define HAS(x) __has_include(x)", (EXISTS_WRAPPER, "HAS")),
        (b"# define HAS( y , x ) (y && __has_include( x ))", (EXISTS_WRAPPER, "HAS")),
        (b"/* a */ #define HAS(x) __has_include(x)", (EXISTS_WRAPPER, "HAS")),
        (b"/* a\n b */ #define HAS(x) __has_include(x)", (EXISTS_WRAPPER, "HAS")),
        (b"#define HAS __has_include", (EXISTS_WRAPPER, "HAS")),
        (b"#define HAS(x) __has_include(#x)", (EXISTS_UNKNOWN, "")),
        (b"#if __has_include(STR(x))", (EXISTS_UNKNOWN, "")),
        (b"#if /* a\n b */ __has_include(MACRO)", (EXISTS_NAME, "MACRO")),
    ],
)
def test_computed_existence_is_found(text: bytes, found: tuple[str, str]) -> None:
    assert scan(text).exists == (found,)


@pytest.mark.parametrize(
    "text",
    [
        b"#ifdef __has_include",
        b"#if defined(__has_include) && defined __has_include",
        b"#ifndef __has_include\n#define __has_include(x) 0\n#endif",
        b"#endif // __has_include",
        b"#endif /* __has_include(x) */",
        b"#if A // no __has_include(x)",
        b"/* __has_include(x) */",
        b"// the __has_include(x) operator",
        b"/*\n#if __has_include(x)\n*/",
    ],
)
def test_what_tests_no_file_costs_nothing(text: bytes) -> None:
    assert scan(text).exists == ()


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        (b"char *a = __DATE__;", VOLATILE),
        (b"char *a = __TIME__;", VOLATILE),
        (b"char *a = __DA\\\nTE__;", VOLATILE),
        (b"char *a = __TIMESTAMP__;", TIMESTAMP),
        (b'#pragma GCC dependency "x"', TIMESTAMP),
        (b'# /* a */ pragma GCC  dependency "x"', TIMESTAMP),
        (b'_Pragma("GCC dependency \\"x\\"")', TIMESTAMP),
        (b'#pragma GCC pch_preprocess "x.gch"', PCH),
        (b'asm(".incbin \\"" NAME "\\"");', INCBIN),
        (b".incbin NAME", INCBIN),
        (b"int __TIME_T__, DATE, __TIMESTAMP;", 0),
        (b"# pragma /* a */ once", ONCE),
        (b'_Pragma("once")', ONCE),
        (b"#define P(x) _Pragma(#x)\nP(once)", ONCE),
        (b"/* The whole output is made at once. */", 0),
        (b'#if __has_include("/opt/x.h")', FAR),
        (b"#if defined(X) && __has_include_next (<../x.h>)", FAR),
        (b'#if __has_embed("/opt/x.bin")', FAR),
        (b'#if __has_include("x/y.h")\n#include "/opt/x.h"\n#include "../x.h"', 0),
        (b"# pragma GCC  system_header", SYSTEM),
        (b'_Pragma("GCC system_header")', SYSTEM),
    ],
)
def test_flags(text: bytes, flag: int) -> None:
    assert scan(text).flags == flag


def test_assembler_names() -> None:
    found = scan(b'asm(".incbin \\"a.bin\\"\\n.include \\"b.inc\\"");\n.incbin "c.bin", 0, 4\n.include "d.s"\n')
    assert found.binaries == ("a.bin", "c.bin")
    assert found.sources == ("b.inc", "d.s")
    assert found.flags == 0


def test_embedded_and_line_names() -> None:
    found = scan(b'#embed "a.bin"\n#embed <b.bin> limit(3)\n#if __has_embed("c")\n#line 3 "g.y"\n# 7 "d\\"e.c" 2\n')
    assert found.data == ("a.bin", "b.bin", "c")
    assert found.lines == ("g.y", 'd"e.c')
    assert found.quoted == ()


def test_hostile_text_is_scanned_in_linear_time() -> None:
    for text in (
        b"#include " * 100_000,
        b"# /* " * 1000,
        b"#include\\\n" * 100_000,
        b"/**" * 200_000 + b"#include",
        b'"' * 500_000,
        b"?" * 500_000,
    ):
        scan(text)  # the test's time limit is the judge


class Disguise:
    """Directives that a preprocessor must see through, made at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def blank(self) -> str:
        choices = [
            "",
            " ",
            "\t",
            " /* c */ ",
            "/**/",
            "/* \n * d */",
            "\\\n",
            "\\ \n",
            "\f",
            "\v",
            "/* \"' */",
            "/*//*/",
        ]
        return "".join(self.random.choices(choices, k=self.random.randrange(3)))

    def split(self, word: str) -> str:
        if self.random.random() < 0.3:
            at = self.random.randrange(1, len(word))
            return word[:at] + self.random.choice(["\\\n", "\\\t\n", "\\\r\n"]) + word[at:]
        return word

    def noise(self) -> str:
        return self.random.choice(
            ["", "int a;", 'char *s = "/*";', "char c = '\"';", "// it's /*", "/* # include */", "#if 0",
             "#endif\n#if 1", "#define E \"", "/* ' */", 'char *t = "a\\"/*b";', "#pragma x",
             "# 1 \"other.c\"", "#line 4"]
        )  # fmt: skip

    def directive(self, name: str) -> str:
        operand = self.random.choice([f'"{name}"', f"<{name}>"])
        word = self.split(self.random.choice(["include", "include", "import", "include_next"]))
        mark = self.random.choice(["#", "#", "%:", "??="])
        end = self.random.choice(["\n", "\r\n", " // e\n", " /* e */\n"])
        return self.blank() + mark + self.blank() + word + self.blank() + operand + end

    def text(self, names: list[str]) -> str:
        open_ifs = 0
        parts = ["\ufeff"] if self.random.random() < 0.2 else []
        for name in names:
            noise = self.noise()
            open_ifs += noise.count("#if") - noise.count("#endif")
            if noise.startswith("#endif") and open_ifs < 0:
                noise, open_ifs = "#if 1", open_ifs + 1
            parts += [noise, "\n", self.directive(name)]
        return "".join(parts) + "\n#endif" * max(open_ifs, 0) + "\n"


@pytest.mark.parametrize("seed", range(40))
def test_no_include_that_gcc_sees_is_missed(tmp_path: str, seed: int) -> None:
    names = [f"h{number}.h" for number in range(8)]
    tree = Tree(str(tmp_path), {f"i/{name}": "\n" for name in names})
    text = Disguise(seed).text(names)
    tree.write("a.c", text)
    opened = {path.rpartition("/")[2] for path in compiler_opens(["gcc", "-std=c99", "-Ii", "-c", "a.c"], tree.root)}
    found = scan(text.encode())
    assert opened & set(names) <= {*found.quoted, *found.angled}, text


def test_random_disguises_do_reach_gcc(tmp_path: str) -> None:
    """The judge of the test above must have something to judge."""
    names = [f"h{number}.h" for number in range(8)]
    tree = Tree(str(tmp_path), {f"i/{name}": "\n" for name in names})
    seen = 0
    for seed in range(20):
        tree.write("a.c", Disguise(seed).text(names))
        done = subprocess.run(
            ["gcc", "-std=c99", "-Ii", "-M", "-w", "a.c"], cwd=tree.root, capture_output=True, check=False
        )
        seen += done.stdout.count(b"i/h")
    assert seen > 40


@pytest.mark.parametrize(
    "text",
    [
        b'#pragma GCC optimize ("stack-protector-strong")', b'#pragma GCC target("avx2")',
        b'_Pragma("GCC optimize (\\"O3\\")")', b'__attribute__((optimize("O3"))) int f(void);',
        b'__attribute__ ((noinline, __target__ ("sse2"))) int f(void);', b'[[gnu::target("arch=armv8-a")]] int f();',
        b'[[__gnu__::__optimize__("O1")]] int f();', b"#define OPT(x) __attribute__((optimize(x)))",
        b'__attribute__((target_clones("avx2", "default"))) int f(void);', b'__attri\\\nbute__((opti\\\nmize("O3")))',
        b'#pragma GCC\\\n target("avx2")',
        b'#pragma/**/GCC/**/optimize/**/("O3")',
    ],
)  # fmt: skip
def test_options_that_a_source_sets(text: bytes) -> None:
    assert scan(text).flags & OPTIONS


@pytest.mark.parametrize(
    "text",
    [
        b"/* optimize for the target */", b"int optimize(int), target(int);", b"#ifdef __OPTIMIZE__\n#endif",
        b"__attribute__((unused)) int n; int target(void);", b"#pragma GCC optimized", b"#pragma GCC push_options",
    ],
)  # fmt: skip
def test_mere_words_set_no_options(text: bytes) -> None:
    assert not scan(text).flags & OPTIONS
