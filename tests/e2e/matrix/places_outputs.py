"""What lies where an output shall come to lie, and what a user sees of it afterwards: for gcc and clang each."""

from __future__ import annotations

from matrix.case import Case, Link
from matrix.places_paths import C, both

BAD = {"a.c": "int x = ;\n"}
ALL = ("-g", "-gsplit-dwarf", "-MMD", "-fstack-usage", "-c", "a.c", "-o", "a.o")
OLD = {f"a.{suffix}": f"old {suffix}\n" for suffix in ("o", "d", "su", "dwo", "s")}
OLD_MODES = dict.fromkeys(OLD, 0o640)
EMPTY = dict.fromkeys(OLD, "")
NAMES = [("ln", name, f"other-{name}") for name in OLD]
NOTES = {"a.gcno": "old notes\n"}

CASES: tuple[Case, ...] = (
    *both("over-old-files", ALL, {**C, **OLD}, modes=OLD_MODES),
    *both("over-old-assembly", ("-MMD", "-S", "a.c"), {**C, **OLD}, modes=OLD_MODES),
    *both("over-empty-files", ALL, {**C, **EMPTY}, modes=OLD_MODES),
    *both("over-empty-assembly", ("-MMD", "-S", "a.c"), {**C, **EMPTY}, modes=OLD_MODES),
    *both("over-executable-files", ALL, {**C, **OLD}, modes=dict.fromkeys(OLD, 493)),
    *both("over-write-protected-files", ALL, {**C, **OLD}, modes=dict.fromkeys(OLD, 292)),
    *both("over-other-names", ("-c", "a.c"), {**C, **OLD}, before=NAMES, per={"gcc": {}, "clang": {}}),
    *both("over-other-names-of-all", ALL, {**C, **OLD}, before=NAMES, reason="output-special"),
    *both("over-other-names-of-assembly", ("-S", "a.c"), {**C, **OLD}, before=NAMES,
          per={"gcc": {"reason": "output-special"}}),
    *both("over-other-names-of-empty-files", ("-c", "a.c"), {**C, **EMPTY}, before=NAMES,
          per={"gcc": {"reason": "output-special"}}),
    *both("over-a-longer-file", ("-S", "a.c"), {**C, "a.s": "old\n" * 10_000}),
    *both("over-a-link", ("-c", "a.c"), {**C, "a.o": Link("target"), "target": "old\n"}, reason="output-special"),
    *both("over-a-link-to-an-empty-file", ("-c", "a.c"), {**C, "a.o": Link("target"), "target": ""},
          reason="output-special"),
    *both("over-a-link-to-nothing", ("-c", "a.c"), {**C, "a.o": Link("target")}, reason="output-special"),
    *both("over-a-link-to-nothing-at-all", ("-c", "a.c"), {**C, "a.o": Link("no/target")}, reason="output-special",
          per={"gcc": {"code": 1}}),
    *both("over-a-link-to-a-folder", ("-c", "a.c"), {**C, "a.o": Link("target"), "target/": ""},
          reason="output-special", per={"clang": {"code": 1}}),
    *both("over-a-link-to-the-source", ("-c", "a.c"), {**C, "a.o": Link("a.c")}, reason="output-special"),
    *both("over-a-linked-depfile", ("-MMD", "-c", "a.c"), {**C, "a.d": Link("target"), "target": "old\n"},
          reason="output-special"),
    *both("over-the-source-by-another-name", ("-c", "a.c", "-o", "b.o"), C, before=[("ln", "a.c", "b.o")]),
    *both("over-the-source", ("-c", "a.c", "-o", "a.c"), C, reason="bad-command", per={"gcc": {"code": 1}}),
    *both("over-the-source-spelled-otherwise", ("-c", "a.c", "-o", "./a.c"), C,
          per={"gcc": {"code": 1, "reason": "remote-error"}}),
    *both("over-a-header", ("-c", "a.c", "-o", "h.h"), C),
    *both("over-a-folder", ("-c", "a.c"), {**C, "a.o/": ""}, code=1, reason="output-special"),
    *both("over-a-folder-with-a-slash", ("-c", "a.c", "-o", "a.o/"), {**C, "a.o/": ""}, code=1, reason="bad-command"),
    *both("over-a-device-link", ("-c", "a.c"), {**C, "a.o": Link("/dev/null")}, reason="output-special"),
    *both("list-over-a-folder", ("-MMD", "-c", "a.c"), {**C, "a.d/": ""}, code=1, reason="output-special"),
    *both("to-a-linked-folder-of-nothing", ("-c", "a.c", "-o", "link/a.o"), {**C, "link": Link("no")}, code=1,
          reason="output-folder"),
    *both("to-null", ("-c", "a.c", "-o", "/dev/null"), C),
    *both("to-null-with-list", ("-MMD", "-MF", "x.d", "-c", "a.c", "-o", "/dev/null"), C, contains={"x.d": b"h.h"}),
    *both("to-stdout", ("-S", "a.c", "-o", "/dev/stdout"), C, reason="output-special"),
    *both("to-missing-folder", ("-c", "a.c", "-o", "no/a.o"), C, code=1, reason="output-folder"),
    *both("to-a-file-as-folder", ("-c", "a.c", "-o", "h.h/a.o"), C, code=1, reason="output-folder"),
    *both("to-setgid-folder", (*ALL[:-1], "s/a.o"), {**C, "s/": ""}, modes={"s": 0o2775}),
    *both("to-sticky-folder", (*ALL[:-1], "s/a.o"), {**C, "s/": "", "s/a.o": "old\n"}, modes={"s": 0o1777}),
    *both("to-open-umask", ALL, C, umask=0o000),
    *both("to-closed-umask", ALL, C, umask=0o077),
    *both("to-odd-umask", ALL, C, umask=0o277,
          per={"gcc": {"reason": "remote-error"}}),  # root alone can write to such a temporary file
    *both("to-two-places", ("-c", "a.c", "-o", "x.o", "-o", "y.o"), C),
    *both("to-list-and-object-of-one-name", ("-MMD", "-MF", "x", "-c", "a.c", "-o", "x"), C),
    # after an error
    *both("error-over-nothing", ALL, BAD, code=1),
    *both("error-over-old-files", ALL, {**BAD, **OLD}, modes=OLD_MODES, code=1, reason="remote-error"),
    *both("error-over-old-object", ("-c", "a.c"), {**BAD, **OLD}, code=1),
    *both("error-over-old-object-and-list", ("-MMD", "-c", "a.c"), {**BAD, **OLD}, code=1),
    *both("error-over-old-assembly", ("-S", "a.c"), {**BAD, **OLD}, code=1),
    *both("error-over-old-object-by-pipe", ("-pipe", "-c", "a.c"), {**BAD, **OLD}, code=1),
    *both("error-over-old-notes", ("--coverage", "-c", "a.c"), {**BAD, **OLD, **NOTES}, code=1, reason="remote-error"),
    *both("error-over-link", ("-c", "a.c"), {**BAD, "a.o": Link("target"), "target": "old\n"}, code=1,
          per={"clang": {"reason": "remote-error"}}),
    *both("error-over-write-protected-object", ("-c", "a.c"), {**BAD, **OLD}, modes={"a.o": 0o444}, code=1),
    *both("error-of-the-assembler-over-old-object", ("-pipe", "-c", "a.c"),
          {"a.c": '__asm__("nonsense");\n', **OLD}, code=1),
    *both("error-of-options-over-old-object", ("-std=c1066", "-c", "a.c"), {**C, **OLD}, code=1,
          reason="inputs-unknown"),
    *both("error-of-missing-header-over-old-files", ALL, {"a.c": '#include "no.h"\n', **OLD}, code=1,
          reason="remote-error"),
    *both("error-of-a-warning-over-old-object", ("-Wall", "-Werror", "-c", "a.c"),
          {"a.c": "static int x;\n", **OLD}, code=1),
    *both("error-with-temporaries-over-old-object", ("-save-temps=obj", "-c", "a.c"), {**BAD, **OLD}, code=1,
          reason="remote-error", per={"gcc": {}}),
    Case("place-error-of-the-driver-over-old-object-clang", ("clang-14", "-fsanitize=address,thread", "-c", "a.c"),
         {**C, **OLD}, code=1, reason="remote-error"),
    Case("place-appended-database-clang", ("clang-14", "-MJ", "x.json", "-c", "a.c"), {**C, "x.json": "old entry,\n"},
         reason="output-special"),
)  # fmt: skip
