"""Ways to write that a file wants another: as data, one row a way, the plainest first.

Rows are ``str.format`` templates. ``{op}`` is the operand as written (``"x.h"``, ``<x.h>``), ``{name}`` the name
in it, ``{stem}`` the name without ``.h``, ``{k}`` a number that makes macros differ, ``{inc}`` a whole directive,
``{other}`` a directive for another name, ``{second}`` another name, ``{absent}`` one that nobody has. A trailing
newline is part of a row.
"""

from __future__ import annotations

from typing import Final

DIRECTIVES: Final = (
    "#include {op}\n",
    "#include{op}\n",
    " \t#\t include \f{op} \v\n",
    "/* c */ #include {op}\n",
    "/* c\n * d */ # /**/ include /* {absent} **/ {op} // <{absent}>\n",
    "#include {op} /* c\n */\n",
    "%:include {op}\n",
    "%: /* %: */ include {op}\n",
    "%\\\n:include {op}\n",
    "#inc\\\nlude {op}\n",
    "#inc\\ \t\nlude {op}\n",
    "#\\\r\ninclude \\\n{op}\n",
    "\\\n\\\n#include {op}\n",
    "/\\\n* c *\\\n/ #include {op}\n",
    "/\\\n/ c\n#include {op}\n",
    '// \\\n#include "{absent}"\n#include {op}\n',
    "#include {op} junk\n",
    "#include /* c */{op}/* d */\n",
    "#import {op}\n",
    "%:import /* c */ {op}\n",
    "#include_next {op}\n",
    "#inc\\\nlude_next {op}\n",
    "# /* c */ include_next /* d */ {op}\n",
)
"""The directive itself."""

TRIGRAPHS: Final = (
    "??=include {op}\n",
    "#inc??/\nlude {op}\n",
    "??= include ??/\n {op}\n",
    '// ??/\n#include "{absent}"\n#include {op}\n',
)
"""Means an include only where trigraphs are on."""

COMPUTED: Final = (
    ("#define H{k} {op}\n", "H{k}"),
    ("#define H{k} G{k}\n#define G{k} {op}\n", "H{k}"),
    ("#define H{k} /* c */ {op} // d\n", "H{k}"),
    ("#define H{k} \\\n {op}\n", "H{k}"),
    ("#define H{k} {op} /* c\n */\n", "H{k}"),
    ("#define H{k} /* c\n */ {op}\n", "H{k}"),
    ("%:define H{k} {op}\n", "H{k}"),
    ("# /* c */ def\\\nine /* d */ H{k} {op}\n", "H{k}"),
    ("#define H{k}(x) {op}\n", "H{k}(1)"),
    ("#define H{k}() {op}\n", "H{k}()"),
    ("#define H{k}(x) x\n", "H{k}({op})"),
    ("#define H{k}(x, ...) __VA_ARGS__\n", "H{k}(1, {op})"),
    ("#define S{k}(x) #x\n", "S{k}({name})"),
    ("#define S{k}(...) #__VA_ARGS__\n", "S{k}({name})"),
    ("#define S{k}(x) #x\n#define T{k}(x) S{k}(x)\n#define N{k} {name}\n", "T{k}(N{k})"),
    ("#define C{k}(a, b) a##b\n#define H{k} {op}\n", "C{k}(H, {k})"),
    ("#define C{k}(a, b) a%:%:b\n#define H{k} {op}\n", "C{k}(H, {k})"),
    ("#define H{k} <N{k}.h>\n#define N{k} {stem}\n", "H{k}"),
    ("#define E{k}\n", "E{k} {op}"),
    ("#define E{k}()\n", "E{k}() {op} E{k}()"),
    ("#define L{k} <\n#define R{k} >\n", "L{k}{name}R{k}"),
    ("#define P{k} H{k}\n#define H{k}(x) {op}\n", "P{k}(1)"),
    ('#define H{k} "{second}"\n#undef H{k}\n#define H{k} {op}\n', "H{k}"),
    ('#define H{k} {op}\n#if 0\n#undef H{k}\n#define H{k} "{second}"\n#endif\n', "H{k}"),
    ('#if 0\n#define H{k} "{second}"\n#else\n#define H{k} {op}\n#endif\n', "H{k}"),
    ('#define H{k} {op}\n#pragma push_macro("H{k}")\n#undef H{k}\n#define H{k} "{second}"\n'
     '#pragma pop_macro("H{k}")\n', "H{k}"),
    ('#define H{k} {op}\n_Pragma("push_macro(\\"H{k}\\")")\n#undef H{k}\n_Pragma("pop_macro(\\"H{k}\\")")\n', "H{k}"),
    ("#define h\\u00e9{k} {op}\n", "h\u00e9{k}"),
    ("#define h$r{k} {op}\n", "h$r{k}"),
    ("#define H{k} I{k}\n#define I{k} J{k}\n#define J{k} H{k} {op}\n", "J{k}"),
    ("", "__FILE__"),
)  # fmt: skip
"""(definitions, the operand that stands for the name)."""

CONDITIONS: Final = (
    "{inc}",
    "#if 0\n{inc}#endif\n",
    "#if 0\n{other}#else\n{inc}#endif\n",
    "#ifdef SWITCH\n{other}#else\n{inc}#endif\n",
    "#ifndef SWITCH\n{other}#else\n{inc}#endif\n",
    "#if SWITCH > 1\n{other}#elif SWITCH\n{inc}#else\n{inc}#endif\n",
    "#if 1\n#if 0\n{other}#elif 1\n{inc}#endif\n#endif\n",
    "%:if defined(SWITCH)\n{other}%:endif\n{inc}",
    "#if __INCLUDE_LEVEL__ > 1\n{other}#endif\n{inc}",
    "#if SET\n{inc}#endif\n#define SET 1\n",
    "#ifdef SET\n{other}#undef SET\n#else\n{inc}#endif\n",
    "#i\\\nf 0 // \\\n\n{other}#else\n{inc}#endif\n",
    "#if 0\n don't \"\n{other}#endif\n{inc}",
    "#if 0\n/* \" */ '\n#endif\n{inc}",
    '/* "\n{other}" */\n{inc}',
    "// /*\n{inc}// */\n",
    "/* // */\n{inc}",
    '#define Q{k} "/*"\n{inc}#define W{k} "*/"\n',
    '#pragma weird "/*" don\'t\n{inc}',
    "#line 7\n{inc}",
    "#pragma GCC system_header\n{inc}",
    '# 7 "{absent}"\n{inc}',
)
"""What stands round a directive, in any language."""

DECOYS: Final = (
    'extern char d[sizeof "/*"]; \n{inc}extern char e[sizeof "*/"];\n',
    "extern char q[sizeof '\"']; /*\n{other}'\"' */\n{inc}",
    "extern char q[sizeof '\\'']; // '\n{inc}",
    'extern char s[sizeof "\\\n#include <{absent}>\\\n"];\n{inc}',
    'extern char t[sizeof "\\"/*"];\n{inc}',
    'extern char u[sizeof "a" /* " */ "b"];\n{inc}/* " */\n',
    'extern char p[sizeof ("??/")];\n{inc}',
)
"""The same for C and C++: declarations that may be repeated."""

RAW_DECOYS: Final = (
    'extern char r[sizeof R"(\n#include "{absent}"\n/*)"];\n{inc}',
    'extern char v[sizeof R"x(")" /* )x"];\n{inc}',
    'extern char w[sizeof u8R"*/(\n/*\n)*/"];\n{inc}',
    'extern char x[sizeof R"(\\\n)" "/*"];\n{inc}//*/\n',
    "extern char y[1'0'0]; // '\"\n{inc}",
    '#define RAW{k} R"(\n#define H{k} "{absent}"\n)"\n{inc}',
)
"""The same for C++11 and later."""

EXISTENCE: Final = (
    "#if __has_include({op})\n{inc}#endif\n",
    "#ifdef __has_include\n# if __has_include({op})\n{inc}# endif\n#endif\n",
    "#if defined __has_include && __has_include ( {op} )\n{inc}#endif\n",
    "#if 0\n#elif __has_include({op})\n{inc}#endif\n",
    "#if !__has_include({op})\n{other}#else\n{inc}#endif\n",
    "#if __has_include_next({op})\n#include_next {op}\n#endif\n{inc}",
    "#if __has_inc\\\nlude /* c */ (/* d */ {op} /* e */)\n{inc}#endif\n",
    "#if (0 || \\\n __has_include({op}))\n{inc}#endif\n",
    '%:if __has_include({op}) && !__has_include("{absent}")\n{inc}%:endif\n',
    "#if __has_include({op}) // don't\n{inc}#else /* \" */\n{other}#endif\n",
    "#define X{k} {op}\n#if __has_include(X{k})\n{inc}#endif\n",
    "#define X{k}(x) __has_include(x)\n#if X{k}({op})\n{inc}#endif\n",
    "#define X{k} __has_include\n#if X{k}({op})\n{inc}#endif\n",
    "#define X{k} __has_include({op})\n#if X{k}\n{inc}#endif\n",
    "#define X{k}(x) Y{k}(x)\n#define Y{k}(x) __has_include(x)\n#if 0\n#elif X{k}({op})\n{inc}#endif\n",
    "#define X{k}(x) #x\n#if __has_include(X{k}({name}))\n{inc}#endif\n",
    "#define X{k} __has_include_next({op})\n#if X{k}\n#include_next {op}\n#endif\n",
    "#if /*\n*/ __has_include({op})\n{inc}#endif\n",
)
"""Questions whether a name is there."""

ASSEMBLY: Final = (
    '.include "{name}"\n',
    '.incbin "{name}"\n',
    ' .incbin "{name}", 0, 1 ; nop\n',
    '.macro m{k}\n.include "{name}"\n.endm\nm{k}\n.purgem m{k}\n',
    '.if 0\n.include "{absent}"\n.else\n.include "{name}"\n.endif\n',
    '/* .include "{absent}" */ .include "{name}"\n',
    '.INCLUDE "{name}"\n',
    '.ascii "/*"\n.incbin "{name}"\n.ascii "*/"\n',
    '1: .incbin\t"{name}"\n',
    '.irp n,d\n.incbin "\\n\\().bin"\n.endr\n',
)
"""What an assembler reads by itself."""

EMBEDDED: Final = (
    '__asm__(".incbin \\"{name}\\"");\n',
    '__asm__(".include \\"{name}\\"");\n',
    '__asm__("\\t.incbin \\"{name}\\", 0, 1\\n" "nop");\n',
    '#define B{k} "{name}"\n__asm__(".incbin \\"" B{k} "\\"");\n',
    '__asm__(".incbin \\042{name}\\042");\n',
)
"""The same out of C and C++."""
