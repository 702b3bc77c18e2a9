"""What depends on what, in every form in which gcc writes it."""

from __future__ import annotations

from matrix.case import Case
from matrix.gcc import C, gcc, gxx, sh

_USES_SYSTEM = {"a.c": '#include <stddef.h>\n#include "own.h"\nsize_t n = OWN;\n', "own.h": "#define OWN 1\n"}
_FAR = {
    "src/a.c": '#include "one/x.h"\n#include <two/y.h>\nint z = X + Y;\n',
    "inc/one/x.h": '#include "y.h"\n#define X 1\n',
    "inc/one/y.h": "",
    "inc/two/y.h": "#define Y 2\n",
    "out/": "",
}
_SPACED = {
    "my src/a b.c": '#include "c d.h"\n#include "e#f.h"\n#include "g$h.h"\nint x = C + E + G;\n',
    "my src/c d.h": "#define C 1\n",
    "my src/e#f.h": "#define E 2\n",
    "my src/g$h.h": "#define G 3\n",
}
_BROKEN = {"a.c": '#include "own.h"\nint x = y;\n', "own.h": "#define OWN 1\n"}

_DRIVER = (
    gcc("depfile-all", "-MD -c a.c", _USES_SYSTEM, contains={"a.d": b"stddef.h"}),
    gcc("depfile-own", "-MMD -c a.c", _USES_SYSTEM, contains={"a.d": b"own.h"}),
    gcc("depfile-both", "-MD -MMD -c a.c", _USES_SYSTEM),
    gcc("depfile-phony", "-MMD -MP -c a.c", _USES_SYSTEM, contains={"a.d": b"own.h:"}),
    gcc("depfile-named", "-MMD -MF deps.mk -c a.c", _USES_SYSTEM, contains={"deps.mk": b"a.o:"}),
    gcc("depfile-named-joined", "-MD -MFdeps.mk -c a.c", _USES_SYSTEM, contains={"deps.mk": b"a.o:"}),
    gcc("depfile-named-twice", "-MMD -MF one.mk -MF two.mk -c a.c", _USES_SYSTEM),
    gcc(
        "depfile-named-elsewhere",
        "-MMD -MF {place}/out/x.d -Iinc -c src/a.c -o out/a.o",
        _FAR,
        contains={"out/x.d": b"inc/one/y.h"},
    ),
    gcc("depfile-target", "-MMD -MT 'one two' -MT '$(x)' -c a.c", _USES_SYSTEM, contains={"a.d": b"one two $(x):"}),
    gcc("depfile-target-quoted", "-MMD -MQ 'one two' -MQ '$(x)' -c a.c", _USES_SYSTEM, contains={"a.d": b"$$(x)"}),
    gcc("depfile-target-joined", "-MMD -MTt.o -MQq.o -c a.c", _USES_SYSTEM, contains={"a.d": b"t.o q.o:"}),
    gcc("depfile-beside-output", "-MMD -Iinc -c src/a.c -o out/b.c.o", _FAR, contains={"out/b.c.d": b"out/b.c.o:"}),
    gcc("depfile-output-no-suffix", "-MMD -Iinc -c src/a.c -o out/b", _FAR, contains={"out/b.d": b"out/b:"}),
    gcc(
        "depfile-source-elsewhere", "-MMD -I../inc -c ../src/a.c", _FAR, cwd="out", contains={"out/a.d": b"../src/a.c"}
    ),
    gcc("depfile-long-lines", "-MD -isystem inc -I. -c src/a.c -o out/a.o", {**_FAR, "y.h": ""}),
    gcc("depfile-spaces", "-MMD -MP -c 'my src/a b.c'", _SPACED, contains={"a b.d": b"c\\ d.h"}),
    gcc("depfile-spaces-output", "-MMD -c 'my src/a b.c' -o 'my src/x $y#z.o'", _SPACED),
    gcc("depfile-dollar-named", "-MMD -MF '$x y.d' -c 'my src/a b.c' -o 'a$b.o'", _SPACED),
    gcc("depfile-assembly", "-MMD -S a.c", _USES_SYSTEM, contains={"a.d": b"a.o: a.c own.h"}),
    gcc(
        "depfile-assembler",
        "-MD -c a.S",
        {"a.S": '#include "a.inc"\n.long N\n', "a.inc": "#define N 1\n"},
        contains={"a.d": b"a.inc"},
    ),
    gxx("depfile", "-MMD -MP -c a.cc -o a.oo", contains={"a.d": b"base.h"}),
    gcc("depfile-has-include", "-MD -c a.c", {"a.c": '#if __has_include("h.h")\nint x;\n#endif\n', "h.h": ""}),
    gcc(
        "depfile-forced",
        "-MMD -include f.h -imacros m.h -c a.c",
        {"a.c": "int x = F + M;\n", "f.h": "#define F 1\n", "m.h": "#define M 2\n"},
        contains={"a.d": b"m.h"},
    ),
    gcc("depfile-of-broken", "-MMD -c a.c", _BROKEN, code=1, contains={"stderr": b"undeclared"}),
    gcc("depfile-of-missing", "-MMD -c a.c", {"a.c": '#include "no.h"\n'}, code=1, reason="remote-error"),
    gcc("depfile-generated-bad", "-MD -MG -c a.c", _USES_SYSTEM, code=1, reason="bad-command"),
    gcc("depfile-none-asked", "-MP -c a.c", _USES_SYSTEM, code=1),
    gcc("depfile-null", "-MMD -MF /dev/null -c a.c", _USES_SYSTEM),
    gcc("depfile-stdout", "-MMD -MF - -c a.c", _USES_SYSTEM, reason="output-special", contains={"stdout": b"own.h"}),
    gcc("depfile-stdout-device", "-MMD -MF /dev/stdout -c a.c", _USES_SYSTEM, reason="output-special"),
    gcc("depfile-folder-missing", "-MMD -MF no/x.d -c a.c", _USES_SYSTEM, code=1, reason="output-folder"),
    gcc(
        "depfile-used-by-make",
        "-MMD -MP -c a.c -o a.o",
        {**_USES_SYSTEM, "Makefile": "a.o: ; false\n-include a.d\n"},
        after=sh("make -q a.o", "touch -d 2001-01-01 a.o", "make -n a.o"),
        needs=("make",),
    ),
    gcc("depfile-read-only", "-MMD -c a.c", {**_USES_SYSTEM, "a.d": "old\n"}, modes={"a.d": 0o600}, umask=0o077),
)

_PREPROCESSOR = (
    gcc("depfile-wp", "-Wp,-MD,x.d -c a.c", _USES_SYSTEM, contains={"x.d": b"stddef.h"}),
    gcc("depfile-wp-own", "-Wp,-MMD,x.d -c a.c -o b.o", _USES_SYSTEM, contains={"x.d": b"a.o: a.c own.h"}),
    gcc(
        "depfile-wp-kernel",
        "-Wp,-MMD,./.a.o.d -nostdinc -I. -c -o a.o a.c",
        {"a.c": "#include <own.h>\nint x = OWN;\n", "own.h": "#define OWN 1\n"},
    ),
    gcc("depfile-wp-phony-target", "-Wp,-MMD,x.d,-MP,-MT,t -c a.c", _USES_SYSTEM, contains={"x.d": b"t: a.c"}),
    gcc("depfile-wp-separate-words", "-Wp,-MD -Wp,x.d -c a.c", _USES_SYSTEM, contains={"x.d": b"own.h"}),
    gcc("depfile-wp-file", "-MD -Wp,-MF,y.d -c a.c", _USES_SYSTEM),
    gcc(
        "depfile-xpreprocessor",
        "-Xpreprocessor -MD -Xpreprocessor x.d -c a.c",
        _USES_SYSTEM,
        contains={"x.d": b"own.h"},
    ),
    gcc("depfile-wp-and-driver", "-MMD -Wp,-MD,x.d -c a.c", _USES_SYSTEM),
    # the source is taken for the file to write
    gcc("depfile-wp-no-file", "-Wp,-MD -c a.c", _USES_SYSTEM, reason="bad-command", contains={"a.c": b"stdc-predef.h"}),
)

_ELSEWHERE = (
    gcc(
        "depfile-variable",
        "-c a.c",
        _USES_SYSTEM,
        env={"DEPENDENCIES_OUTPUT": "env.d"},
        reason="environment",
        contains={"env.d": b"own.h"},
    ),
    gcc(
        "depfile-variable-target",
        "-c a.c",
        _USES_SYSTEM,
        env={"DEPENDENCIES_OUTPUT": "env.d target"},
        reason="environment",
        contains={"env.d": b"target: a.c"},
    ),
    gcc(
        "depfile-variable-sun",
        "-c a.c",
        _USES_SYSTEM,
        env={"SUNPRO_DEPENDENCIES": "sun.d"},
        reason="environment",
        contains={"sun.d": b"stddef.h"},
    ),
    gcc("depfile-only", "-M a.c", _USES_SYSTEM, reason="preprocess-only", contains={"stdout": b"stddef.h"}),
    gcc(
        "depfile-only-own",
        "-MM -MG -MF x.mk a.c",
        {"a.c": '#include "later.h"\n'},
        reason="preprocess-only",
        contains={"x.mk": b"later.h"},
    ),
    gcc("depfile-only-with-c", "-MM -c a.c -o a.o", C, reason="preprocess-only", contains={"a.o": b"shape.h"}),
    gcc("depfile-preprocessed", "-MMD -E a.c -o a.i", C, reason="preprocess-only", contains={"a.d": b"shape.h"}),
)

CASES: tuple[Case, ...] = (*_DRIVER, *_PREPROCESSOR, *_ELSEWHERE)
