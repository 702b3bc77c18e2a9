"""Every file that the compiler opens is among the inputs, in trees made to hide them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field

import pytest
from inputs_support import Client, compiler_opens, sealed_preprocess

from manycc.errors import NotDistributable
from manycc.reasons import Reason
from manycc.testing.fileview import Tree


@dataclass
class Case:
    """A tree, a command, and some files that must be found (all that gcc opens must be, anyway)."""

    files: dict[str, str | bytes]
    argv: list[str]
    wanted: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    env: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    how: str = "scan"


C = ["gcc", "-c", "a.c"]
CASES = {
    "quote first in own folder": Case(
        {"src/a.c": '#include "x.h"\n', "src/x.h": '#include "y.h"', "src/y.h": "", "y.h": "", "x.h": ""},
        ["gcc", "-I.", "-c", "src/a.c"],
        {"src/a.c", "src/x.h", "src/y.h", "x.h", "y.h"},
    ),
    "every candidate in every folder": Case(
        {"a.c": "#include <x.h>\n", **{f"{d}/x.h": "" for d in ("q", "i", "s", "z")}},
        ["gcc", "-iquote", "q", "-Ii", "-isystem", "s", "-idirafter", "z", "-Imissing", "-c", "a.c"],
        {"i/x.h", "s/x.h", "z/x.h"},
    ),
    "include_next": Case(
        {
            "a.c": "#include <x.h>\n",
            "1/x.h": "#include_next <x.h>\n",
            "2/x.h": "#include_next <x.h>\n",
            "3/x.h": "int three;\n",
        },
        ["gcc", "-I1", "-I2", "-I3", "-c", "a.c"],
        {"1/x.h", "2/x.h", "3/x.h"},
    ),
    "branches that are not taken": Case(
        {"a.c": '#if 0\n#include "x.h"\n#endif\n', "x.h": '#include "y.h"\n', "y.h": ""}, C, {"x.h", "y.h"}
    ),
    "existence decides": Case(
        {"a.c": '#if __has_include("x.h") && __has_include(<sub/y.h>)\nint yes;\n#endif\n', "x.h": "", "sub/y.h": ""},
        ["gcc", "-I.", "-c", "a.c"],
        {"x.h", "sub/y.h"},
    ),
    "header in a linked folder": Case(
        {"a.c": '#include "l/x.h"\n', "real/x.h": '#include "../near.h"\n', "near.h": "", "deep/near.h": ""},
        C,
        {"real/x.h", "near.h"},
        {"l": "real"},
    ),
    "dots behind a link are physical": Case(
        {"a.c": '#include "l/../x.h"\n', "deep/real/y.h": "", "deep/x.h": "int physical;\n", "x.h": "int textual;\n"},
        C,
        {"deep/x.h"},
        {"l": "deep/real"},
    ),
    "link to a link": Case(
        {"a.c": "#include <x.h>\n", "real/x.h": "int x;\n"},
        ["gcc", "-Ione", "-c", "a.c"],
        {"real/x.h"},
        {"one": "two", "two": "./three/", "three": "real"},
    ),
    "header that is a link": Case(
        {
            "a.c": '#include "i/x.h"\n',
            "other/x.h": '#include "near.h"\n',
            "i/near.h": "int i;\n",
            "other/near.h": "int o;\n",
        },
        C,
        {"other/x.h", "i/near.h", "other/near.h"},
        {"i/x.h": "../other/x.h"},
    ),
    "system header that is a link": Case(
        {
            "a.c": "#include <x.h>\n",
            "o/x.h": '#include "near.h"\n',
            "deep/deep/i/near.h": "int i;\n",
            "o/near.h": "int o;\n",
        },
        ["gcc", "-isystem", "deep/deep/i", "-c", "a.c"],
        {"o/x.h", "deep/deep/i/near.h", "o/near.h"},
        {"deep/deep/i/x.h": "../../../o/x.h"},
    ),
    "source that is a link": Case(
        {"other/a.c": '#include "near.h"\n', "near.h": "int n;\n", "other/near.h": "int o;\n"},
        C,
        {"other/a.c", "near.h"},
        {"a.c": "other/a.c"},
    ),
    "folders crossed by dots": Case(
        {"a.c": '#include "e1/e2/../../x.h"\n', "x.h": "", "e1/e2/unrelated": ""}, C, {"x.h"}
    ),
    "forced": Case(
        {"src/a.c": "int a = F + M;\n", "f.h": '#include "g.h"\n', "g.h": "#define F 1\n", "m.h": "#define M 2\n"},
        ["gcc", "-include", "f.h", "-imacros", "m.h", "-c", "src/a.c"],
        {"f.h", "g.h", "m.h"},
    ),
    "odd names": Case(
        {
            "a.c": b'#include "sp ace/c,d.h"\n#include "q\'s.h"\n#include "b\\s.h"\n'
            b'#include "\xff.h"\n#include "$x#.h"\n',
            "sp ace/c,d.h": "",
            "q's.h": "",
            "b\\s.h": "",
            "\udcff.h": "",
            "$x#.h": "",
        },
        C,
        {"sp ace/c,d.h", "q's.h", "b\\s.h", "\udcff.h", "$x#.h"},
    ),
    "odd search folders": Case(
        {"a.c": "#include <x.h>\n", "sp ace,$/x.h": "", "\udcfe/x.h": ""},
        ["gcc", "-I", "sp ace,$", "-I\udcfe", "-c", "a.c"],
        {"sp ace,$/x.h", "\udcfe/x.h"},
    ),
    "variables": Case(
        {"p/a.c": "#include <x.h>\n#include <y.h>\n", "c/x.h": "", "d/y.h": "", "p/y.h": ""},
        ["gcc", "-c", "a.c"],
        {"c/x.h", "d/y.h"},
        cwd="p",
        env={"CPATH": "../c", "C_INCLUDE_PATH": ":../d"},
    ),
    "sysroot": Case(
        {"a.c": "#include <x.h>\n", "root/usr/include/x.h": ""},
        ["gcc", "--sysroot=root", "-c", "a.c"],
        {"root/usr/include/x.h"},
    ),
    "literal macro": Case(
        {
            "a.c": '#include "d.h"\n#include HERE\n#include THERE\n',
            "d.h": '#define HERE "x.h"\n#define THERE <y.h>\n',
            "x.h": "",
            "y.h": "",
        },
        ["gcc", "-I.", "-c", "a.c"],
        {"x.h", "y.h"},
    ),
    "macro with several values": Case(
        {
            "a.c": '#ifdef X\n#define H "x.h"\n#else\n#define H "y.h"\n#endif\n#define A H\n#include A\n',
            "x.h": "",
            "y.h": "",
        },
        C,
        {"x.h", "y.h"},
    ),
    "macro of a file that a macro names": Case(
        {"a.c": '#define F "f.h"\n#include F\n#include G\n', "f.h": '#define G "g.h"\n', "g.h": "int g;\n"},
        C,
        {"f.h", "g.h"},
    ),
    "macro of the command line": Case(
        {"src/a.c": "#include HEADER\n", "src/x.h": ""}, ["gcc", '-DHEADER="x.h"', "-c", "src/a.c"], {"src/x.h"}
    ),
    "macro that nobody defines": Case({"a.c": "#ifdef USER_H\n#include USER_H\n#include STR(USER_H)\n#endif\n"}, C),
    "made by a macro": Case(
        {
            "a.c": "#define S(x) #x\n#define T(x) S(x)\n#define N x.h\n#include T(N)\n",
            "x.h": '#include "y.h"\n',
            "y.h": "",
        },
        C,
        {"x.h", "y.h"},
        complete=False,
        how="scan+M",
    ),
    "made by a macro, elsewhere too": Case(
        {"a.c": "#define S(x) <x>\n#include S(x.h)\n", "1/x.h": "int one;\n", "2/x.h": "int two;\n", "0/y.h": ""},
        ["gcc", "-I0", "-I./1", "-I2", "-c", "a.c"],
        {"1/x.h", "2/x.h"},
        complete=False,
        how="scan+M",
    ),
    "angles are made of tokens": Case(
        {"a.c": "#define dir other\n#define H <dir/x.h>\n#include H\n", "dir/x.h": "", "other/x.h": "int o;\n"},
        ["gcc", "-I.", "-c", "a.c"],
        {"other/x.h"},
        complete=False,
        how="scan+M",
    ),
    "body after a comment of several lines": Case(
        {"a.c": '#define H /* a\n b */ "x.h"\n#include H\n', "x.h": "int x;\n"},
        C,
        {"x.h"},
        complete=False,
        how="scan+M",
    ),
    "existence of a macro's value": Case(
        {"a.c": '#define H "x.h"\n#if __has_include(H)\nint yes;\n#endif\n', "x.h": "int x;\n"}, C, {"x.h"}
    ),
    "existence through wrappers": Case(
        {
            "a.c": "#define HAS(x) __has_include(x)\n#define ALSO(y) (HAS(y))\n#define E __has_include\n#define F HAS\n"
            '#if HAS("x.h") && ALSO(<y.h>) && E("z.h") && F("w.h")\nint yes;\n#endif\n',
            "x.h": "",
            "y.h": "",
            "z.h": "",
            "w.h": "",
        },
        ["gcc", "-I.", "-c", "a.c"],
        {"x.h", "y.h", "z.h", "w.h"},
    ),
    "binary and assembler": Case(
        {
            "src/a.c": 'asm(".incbin \\"d/a.bin\\"");\nasm(".include \\"a.inc\\"");\n',
            "d/a.bin": b"\0",
            "i/a.inc": '.incbin "b.bin"\n',
            "i/b.bin": b"\1",
        },
        ["gcc", "-Ii", "-c", "src/a.c"],
        {"d/a.bin", "i/a.inc", "i/b.bin"},
    ),
    "plain assembler": Case(
        {
            "a.s": '# don\'t #include STUFF\n.include "b.inc"\n.incbin "c.bin"\n',
            "b.inc": "",
            "c.bin": b"\0",
            "STUFF": "",
        },
        ["gcc", "-c", "a.s"],
        {"b.inc", "c.bin"},
        complete=False,
    ),
    "assembler with preprocessor": Case(
        {"a.S": '#include "x.h"\n.incbin "c.bin"\n', "x.h": "", "c.bin": b"\0"},
        ["gcc", "-c", "a.S"],
        {"x.h", "c.bin"},
        complete=False,
    ),
    "preprocessed": Case(
        {
            "a.i": '# 1 "a.c"\n#include "x.h"\nint a; asm(".incbin \\"c.bin\\"");\n',
            "a.c": "int a;\n",
            "x.h": "",
            "c.bin": b"\0",
        },
        ["gcc", "-c", "a.i"],
        {"a.c", "c.bin"},
    ),
    "lines of a grammar": Case(
        {"out/a.c": '#line 1 "src/g.y"\nint a;\n', "src/g.y": "int a;\n"},
        ["gcc", "-Wall", "-c", "out/a.c"],
        {"src/g.y"},
    ),
    "loops": Case(
        {
            "a.c": '#include "b.h"\n#if 0\n#include "l/x.h"\n#endif\n',
            "b.h": '#pragma once\n#include "a.c"\n',
            "x.h": "",
        },
        ["gcc", "-I.", "-c", "a.c"],
        {"b.h"},
        {"l": "l2", "l2": "l"},
    ),
    "absolute and folder names": Case(
        {
            "a.c": '#include "/usr/include/errno.h"\n#if 0\n#include "sub"\n'
            '#include "x.h/"\n#include ""\n#include "/"\n#endif\n',
            "sub/y": "",
            "x.h": "",
        },
        C,
    ),
    "c++": Case(
        {"a.cc": "#include <vector>\n#include <cstdio>\n#include <limits.h>\nint main() {}\n"}, ["g++", "-c", "a.cc"]
    ),
    "c++ without its folders": Case(
        {"a.cc": "#include <vector>\n", "i/vector": "int v;\n"},
        ["g++", "-nostdinc++", "-Ii", "-c", "a.cc"],
        {"i/vector"},
    ),
    "32 bit": Case({"a.c": "#include <stddef.h>\n"}, ["gcc", "-m32", "-c", "a.c"]),
}


def build(tmp_path: object, case: Case) -> Tree:
    tree = Tree(f"{tmp_path}/tree", case.files)
    for path, target in case.links.items():
        tree.link(path, target)
    return tree


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_missed(tmp_path: object, name: str) -> None:
    case = CASES[name]
    tree = build(tmp_path, case)
    client = Client(tree)
    manifest = client.collect(*case.argv, cwd=case.cwd, env=case.env)
    cwd = os.path.normpath(tree.path(case.cwd))
    found = {item.path for item in manifest.inputs.items}
    assert case.wanted <= client.names(manifest)
    if not case.argv[-1].endswith((".s", ".i")):
        assert compiler_opens(case.argv, cwd, case.env) <= found
    assert manifest.inputs.complete == case.complete
    assert manifest.inputs.how == case.how
    assert client.check(manifest)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.env])
def test_sealed_preprocessing_gives_the_same_bytes(tmp_path: object, name: str) -> None:
    case = CASES[name]
    if case.argv[-1].endswith((".s", ".i")):
        pytest.skip("is not preprocessed")
    tree = build(tmp_path, case)
    manifest = Client(tree).collect(*case.argv)
    here = subprocess.run([*case.argv, "-E"], cwd=tree.root, capture_output=True, check=False)
    there = sealed_preprocess(manifest, case.argv, tree.root, f"{tmp_path}/stage")
    assert there == (here.returncode, here.stdout + here.stderr)


def test_links_and_folders_are_inputs(tmp_path: object) -> None:
    case = CASES["link to a link"]
    tree = build(tmp_path, case)
    client = Client(tree)
    manifest = client.collect(*case.argv)
    assert client.links(manifest) == case.links
    assert {tree.root, "real"} <= client.folders(manifest)


def test_crossed_folders_must_exist(tmp_path: object) -> None:
    case = CASES["folders crossed by dots"]
    client = Client(build(tmp_path, case))
    assert {"e1/e2", "e1"} <= client.folders(client.collect(*case.argv))


@pytest.mark.parametrize(
    ("files", "argv", "reason"),
    [
        ({}, C, Reason.SOURCE_UNREADABLE),
        ({"a.c/x": ""}, C, Reason.SOURCE_UNREADABLE),
        ({"a.c": '#include "x.h"\n', "x.h": "", "x.h.gch": ""}, C, Reason.PRECOMPILED_HEADER),
        ({"a.c": "#include <x.h>\n", "1/x.h": "", "2/x.h.gch/c": ""}, ["gcc", "-I1", "-I2", "-c", "a.c"],
         Reason.PRECOMPILED_HEADER),
        ({"a.c": "#include <d/x.h>\n", "1/d/x.h": "", "2/d/x.h.gch": ""}, ["gcc", "-I1", "-I2", "-c", "a.c"],
         Reason.PRECOMPILED_HEADER),
        ({"a.c": "", "x.h": "", "x.h.gch": ""}, ["gcc", "-include", "x.h", "-c", "a.c"], Reason.PRECOMPILED_HEADER),
        ({"a.i": '#pragma GCC pch_preprocess "x.gch"\n'}, ["gcc", "-c", "a.i"], Reason.PRECOMPILED_HEADER),
        ({"a.c": "char *t = __TIMESTAMP__;\n"}, C, Reason.TIMESTAMP_MACRO),
        ({"a.c": '#define N "x"\nasm(".incbin \\"" N "\\"");\n'}, C, Reason.COMPUTED_INCBIN),
        ({"a.c": "#define S(x) #x\n#include S(missing.h)\n"}, C, Reason.INPUTS_UNKNOWN),
        ({"a.c": "#define HAS(x) __has_include(#x)\n"}, C, Reason.INPUTS_UNKNOWN),
        ({"a.c": "#define S(x) #x\n#define HAS(x) __has_include(x)\n#if HAS(S(x))\n#endif\n"}, C,
         Reason.INPUTS_UNKNOWN),
        ({"a.c": "#include MACRO\n"}, ["gcc", "-DMACRO=__FILE__", "-c", "a.c"], Reason.INPUTS_UNKNOWN),
        ({"a.c": "#if HAS(<x.h>)\n#endif\n"}, ["gcc", "-DHAS(x)=__has_include(x)", "-c", "a.c"], Reason.INPUTS_UNKNOWN),
        ({"a.c": '#include "/proc/version"\n'}, C, Reason.INPUTS_UNKNOWN),
    ],
)  # fmt: skip
def test_what_must_stay_here(tmp_path: object, files: dict[str, str], argv: list[str], reason: Reason) -> None:
    client = Client(Tree(f"{tmp_path}/tree", files))
    with pytest.raises(NotDistributable) as caught:
        client.collect(*argv)
    assert caught.value.reason is reason, caught.value


def test_pipes_and_devices_are_for_the_compiler_here(tmp_path: object) -> None:
    tree = Tree(f"{tmp_path}/tree", {"a.c": '#include "/dev/null"\n'})
    client = Client(tree)
    assert client.names(client.collect(*C)) == {"a.c"}
    os.mkfifo(tree.path("pipe"))
    for name in ("pipe", "/dev/zero"):
        tree.write("a.c", f'#if 0\n#include "{name}"\n#endif\n')
        with pytest.raises(NotDistributable) as caught:
            client.collect(*C)
        assert caught.value.reason is Reason.INPUTS_UNKNOWN
    os.unlink(tree.path("pipe"))
    tree.write("a.c", '#if 0\n#include "pipe"\n#endif\n')
    assert client.names(client.collect(*C)) == {"a.c"}


def test_dates_make_a_job_volatile(tmp_path: object) -> None:
    tree = Tree(f"{tmp_path}/tree", {"a.c": '#include "v.h"\n', "v.h": "char *a = __DATE__;\n", "b.c": ""})
    client = Client(tree)
    assert client.collect(*C).inputs.volatile
    assert not client.collect("gcc", "-c", "b.c").inputs.volatile
    assert client.collect("gcc", "-DNOW=__TIME__", "-c", "b.c").inputs.volatile


def test_options_that_a_source_sets_for_itself(tmp_path: object) -> None:
    """A header's count, too; those of the compiler's own headers do not, which come with any of its version."""
    headers = "#include <emmintrin.h>\n#include <arm_neon.h>\n#include <stdlib.h>\n"
    files = {"a.c": '#include "a.h"\n', "a.h": '#pragma GCC optimize ("O3")\n', "b.c": headers}
    client = Client(Tree(f"{tmp_path}/tree", files))
    assert client.collect(*C).inputs.options
    assert not client.collect("gcc", "-c", "b.c").inputs.options
    assert client.collect("gcc", '-DFAST=__attribute__((optimize("O3")))', "-c", "b.c").inputs.options


def test_questions_whether_a_file_exists_at_all(tmp_path: object) -> None:
    """By a name from the root, or one that may lead above it: also where a macro holds the name."""
    ask = "#if __has_include(X)\nint y;\n#endif\n"
    files = {
        "a.c": '#include "v.h"\n',
        "v.h": '#define X "/no/x.h"\n' + ask,
        "b.c": '#define X "b.h"\n' + ask,
        "c.c": ask,
    }
    client = Client(Tree(f"{tmp_path}/tree", files))
    assert client.collect(*C).inputs.far
    assert not client.collect("gcc", "-c", "b.c").inputs.far
    assert client.collect("gcc", '-DX="../../x.h"', "-c", "c.c").inputs.far


@pytest.mark.parametrize(("text", "twins"), [("#pragma once\n", True), ("int x;\n", False)])
def test_equal_files_that_gcc_may_take_for_one(tmp_path: object, text: str, twins: bool) -> None:
    folder = f"{tmp_path}/tree"
    client = Client(Tree(folder, {"a.c": '#include "b.h"\n#include "c.h"\n', "b.h": text, "c.h": text, "d.c": ""}))
    for name in ("b.h", "c.h"):
        os.utime(f"{folder}/{name}", (1e9, 1e9))  # as on a node, where equal files are equally old
    assert client.collect(*C).inputs.twins is twins
    assert not client.collect("gcc", "-c", "d.c").inputs.twins


def test_size_is_bounded(tmp_path: object) -> None:
    tree = Tree(f"{tmp_path}/tree", {"a.c": '#include "big.h"\n'})
    with open(tree.path("big.h"), "wb") as file:
        file.truncate(513 * 1024 * 1024)
    with pytest.raises(NotDistributable) as caught:
        Client(tree).collect(*C)
    assert caught.value.reason is Reason.INPUT_TOO_LARGE


def test_extra_files_and_option_files_are_taken_if_they_exist(tmp_path: object) -> None:
    tree = Tree(f"{tmp_path}/tree", {"a.c": "", "locale/x.mo": b"\0", "list": "src:x"})
    client = Client(tree)
    extra = [tree.path("locale/x.mo"), tree.path("locale/y.mo")]
    argv = ["clang", "-fsanitize=address", "-fsanitize-ignorelist=list", "-c", "a.c"]
    manifest = client.collect(*argv, extra=extra, kind="clang", driver="gcc")
    assert {"locale/x.mo", "list"} <= client.names(manifest)
    tree.write("locale/y.mo", b"\0")
    assert not client.check(manifest)


def test_folder_that_cannot_be_listed_is_asked_name_by_name(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> object:
        raise PermissionError(path)

    monkeypatch.setattr(os, "scandir", refuse)
    case = CASES["every candidate in every folder"]
    client = Client(build(tmp_path, case))
    assert case.wanted <= client.names(client.collect(*case.argv))
