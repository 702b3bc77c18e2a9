"""Assembly sources, and options for the assembler."""

from __future__ import annotations

from matrix.case import Case, Link
from matrix.gcc import C, Files, gcc, sh

_PLAIN: Files = {
    "a.s": '\t.globl f\nf:\tret\n\t.data\n\t.include "inc.s"\n\t.incbin "blob"\n',
    "inc.s": "\t.long 7\n",
    "blob": b"\x00\xff\x80data",
}
_CPP: Files = {
    "a.S": """\
#include "n.h"
#ifdef __ASSEMBLER__
	nop
	.long N
#endif
	.include "inc.s"
	.incbin "blob", 2, 3
	.section .note.GNU-stack,"",@progbits
""",
    "n.h": "#define N 5\n",
    "inc.s": "\t.long 7\n",
    "blob": b"0123456789",
}
_TOP = '__asm__(".data\\nblob: .incbin \\"{}\\"\\n.previous");\nextern const char blob[];\n'

_SOURCES = (
    gcc("assembler-plain", "-c a.s", _PLAIN, contains={"a.o": b"\xff\x80data"}),
    gcc("assembler-preprocessed", "-c a.S", _CPP, contains={"a.o": b"234"}),
    gcc("assembler-upper-suffix", "-c a.sx", {"a.sx": "#define N 1\n.long N\n"}),
    gcc("assembler-named", "-x assembler-with-cpp -c a.asm", {"a.asm": "#define N 1\n.long N\n"}),
    gcc("assembler-named-plain", "-x assembler -c a.txt", {"a.txt": ".long 3\n"}),
    gcc("assembler-debug", "-g -c a.S", _CPP, contains={"a.o": b"a.S"}),
    gcc("assembler-debug-dwarf", "-gdwarf-5 -Wa,--gdwarf-5 -c a.s", _PLAIN),
    gcc("assembler-debug-map", "-g -fdebug-prefix-map={place}=/x -c a.S", _CPP),
    gcc("assembler-define", "-DDEF=3 -c a.S", {"a.S": ".long DEF\n"}),
    gcc("assembler-include-folder", "-Isub -c a.s", {"a.s": '.include "i.s"\n', "sub/i.s": ".long 9\n"}),
    gcc(
        "assembler-include-wa",
        "-Wa,-Isub -c a.s",
        {"a.s": '.include "i.s"\n.incbin "b"\n', "sub/i.s": ".long 9\n", "sub/b": "bytes"},
    ),
    gcc("assembler-include-wa-separate", "-Wa,-I -Wa,sub -c a.s", {"a.s": '.include "i.s"\n', "sub/i.s": ".long 9\n"}),
    gcc(
        "assembler-include-nested",
        "-c src/a.s",
        {"src/a.s": '.include "src/i.s"\n', "src/i.s": '.include "j.s"\n', "j.s": ".long 1\n"},
    ),
    gcc("assembler-include-absolute", "-c a.s", {"a.s": '.include "{place}/sub/i.s"\n', "sub/i.s": ".long 1\n"}),
    gcc(
        "assembler-include-link",
        "-c a.s",
        {"a.s": '.incbin "l"\n', "l": Link("b"), "b": "linked"},
        contains={"a.o": b"linked"},
    ),
    gcc(
        "assembler-include-missing",
        "-c a.s",
        {"a.s": '.include "no.s"\n'},
        code=1,
        reason="remote-error",
        contains={"stderr": b"no.s"},
    ),
    gcc(
        "assembler-incbin-missing",
        "-c a.s",
        {"a.s": '.incbin "no"\n'},
        code=1,
        reason="remote-error",
        contains={"stderr": b"no"},
    ),
    gcc(
        "assembler-incbin-in-c",
        "-c a.c",
        {"a.c": _TOP.format("blob"), "blob": b"\x01binary"},
        contains={"a.o": b"\x01binary"},
    ),
    gcc(
        "assembler-incbin-in-header",
        "-Isub -c a.c",
        {"a.c": '#include "b.h"\n', "sub/b.h": _TOP.format("sub/blob"), "sub/blob": "inner"},
        contains={"a.o": b"inner"},
    ),
    gcc(
        "assembler-incbin-by-folder",
        "-Isub -c a.c",
        {"a.c": _TOP.format("blob"), "sub/blob": "found"},
        contains={"a.o": b"found"},
    ),
    gcc(
        "assembler-incbin-by-wa-folder",
        "-Wa,-Isub -c a.c",
        {"a.c": _TOP.format("blob"), "sub/blob": "found"},
        contains={"a.o": b"found"},
    ),
    gcc(
        "assembler-incbin-computed",
        "-DNAME='\"blob\"' -c a.c",
        {"a.c": '#define Q(x) #x\n#define S(x) Q(x)\n__asm__(".incbin " S(NAME));\n', "blob": "named"},
        reason="computed-incbin",
    ),
    gcc(
        "assembler-incbin-macro",
        "-c a.S",
        {"a.S": '#define B "blob"\n.incbin B\n', "blob": "named"},
        reason="computed-incbin",
        contains={"a.o": b"named"},
    ),
    gcc(
        "assembler-macro-argument",
        "-c a.s",
        {"a.s": '.macro put name\n.incbin "\\name"\n.endm\nput blob\n', "blob": "by macro"},
        contains={"a.o": b"by macro"},
        reason="computed-incbin",
    ),
    gcc(
        "assembler-error",
        "-c a.s",
        {"a.s": "nonsense %eax\n"},
        code=1,
        reason="remote-error",
        contains={"stderr": b"no such instruction"},
    ),
    gcc(
        "assembler-error-in-include",
        "-c a.s",
        {"a.s": '.include "i.s"\n', "i.s": "nonsense\n"},
        code=1,
        reason="remote-error",
        contains={"stderr": b"i.s:1"},
    ),
    gcc("assembler-warning", "-c a.s", {"a.s": '.warning "careful"\n.byte 300\n'}, contains={"stderr": b"careful"}),
    gcc("assembler-warning-off", "-Wa,-W -c a.s", {"a.s": ".byte 300\n"}),
    gcc(
        "assembler-warning-fatal", "-Wa,--fatal-warnings -c a.s", {"a.s": ".byte 300\n"}, code=1, reason="remote-error"
    ),
    gcc("assembler-print", "-c a.s", {"a.s": '.print "hello"\n'}, contains={"stdout": b"hello"}),
    gcc("assembler-into-assembly", "-S a.S", _CPP, reason="preprocess-only", contains={"stdout": b".long 5"}),
    gcc("assembler-assembly-of-assembly", "-S a.s", _PLAIN, reason="bad-command"),
    gcc("assembler-linemarkers", "-g -c a.s", {"a.s": '# 1 "orig.S"\n.globl f\nf: ret\n'}),
    gcc("assembler-32", "-m32 -c a.s", {"a.s": "pushl %eax\n"}),
    gcc("assembler-march", "-Wa,-march=generic64+avx -c a.s", {"a.s": "vaddps %ymm0, %ymm1, %ymm2\n"}),
)

_OPTIONS = (
    gcc("wa-defsym", "-Wa,--defsym,SYM=5 -c a.s", {"a.s": ".long SYM\n"}),
    gcc("wa-defsym-joined", "-Wa,--defsym=SYM=5 -c a.s", {"a.s": ".long SYM\n"}),
    gcc("wa-xassembler", "-Xassembler --defsym -Xassembler SYM=6 -c a.s", {"a.s": ".long SYM\n"}),
    gcc("wa-noexecstack", "-Wa,--noexecstack -c a.c", contains={"a.o": b".note.GNU-stack"}),
    gcc("wa-several", "-Wa,--noexecstack,--keep-locals,-L -Wa,-mrelax-relocations=no -c a.c"),
    gcc("wa-compressed", "-g -Wa,--compress-debug-sections -c a.c"),
    gcc("wa-divide", "-Wa,--divide -c a.s", {"a.s": ".long 6/2\n"}),
    gcc(
        "wa-listing", "-Wa,-al -c a.s", {"a.s": ".long 1\n"}, reason="local-option", contains={"stdout": b"GAS LISTING"}
    ),
    gcc(
        "wa-listing-file",
        "-Wa,-alh=list.txt -g -c a.s",
        {"a.s": ".long 1\n"},
        reason="local-option",
        contains={"list.txt": b"GAS LISTING"},
    ),
    gcc(
        "wa-listing-of-c",
        "-Wa,-adhln=list.txt -g -save-temps -c a.c",
        reason="local-option",
        contains={"list.txt": b"area"},
    ),
    gcc("wa-depfile", "-Wa,--MD,a.dep -c a.s", _PLAIN, reason="local-option", contains={"a.dep": b"inc.s"}),
    gcc("wa-statistics", "-Wa,--reduce-memory-overheads,--hash-size=4051 -c a.s", {"a.s": ".long 1\n"}),
    gcc("wa-output", "-Wa,-o,other.o -c a.s", {"a.s": ".long 1\n"}, reason="local-option"),
    gcc("wa-response", "-Wa,@more -c a.s", {"a.s": ".long SYM\n", "more": "--defsym SYM=1\n"}, reason="local-option"),
    gcc(
        "wa-unknown",
        "-Wa,--no-such -c a.s",
        {"a.s": ".long 1\n"},
        code=1,
        reason="local-option",
        contains={"stderr": b"unrecognized"},
    ),
    gcc("wa-missing-value", "-Wa,--defsym -c a.s", {"a.s": ".long 1\n"}, code=1, reason="bad-command"),
    gcc("wa-syntax", "-masm=att -Wa,-msyntax=att,-mmnemonic=att -c a.c"),
    gcc("wa-linked", "-Wa,--gdwarf-sections -g -ffunction-sections -c a.c", after=sh("ld -r a.o -o b.o")),
    gcc("wa-not-integrated", "-fno-integrated-as -c a.c", C, code=1, reason="local-option"),
)

CASES: tuple[Case, ...] = (*_SOURCES, *_OPTIONS)
