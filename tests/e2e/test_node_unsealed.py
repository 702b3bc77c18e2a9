"""A node on a machine without user namespaces: the same bytes or a refusal, and no file of the machine's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from native_client import NativeClient, NodeProcess, Spec, include_folders, includes_of, toolchain_of

from manycc.job import Toolchain
from manycc.toolchain.locale import locale_paths

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="NOT TESTED: needs gcc")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeClient]:
    with NodeProcess(str(tmp_path_factory.mktemp("node")), "--jobs", "2", "--sandbox", "off") as node:
        with NativeClient(node.port) as made:
            assert made.welcome["sandbox"] == "folder"
            yield made
        assert node.stop() == 0
        assert "Traceback" not in node.log()
        assert os.listdir(f"{node.store}/tmp") == []


@pytest.fixture(scope="module")
def gcc() -> Toolchain:
    return toolchain_of("gcc")


@pytest.fixture(scope="module")
def gxx() -> Toolchain:
    return toolchain_of("g++")


@pytest.fixture
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("work"))


def plain(source: str, work: str, *more: str, driver: str = "gcc", name: str = "a.c") -> Spec:
    return Spec(
        [driver, *more, "-c", name, "-o", "a.o"],
        work,
        files={f"{work}/{name}": source.encode()},
        inputs=["/usr/include/stdc-predef.h"] if os.path.exists("/usr/include/stdc-predef.h") else [],
        folders=include_folders(driver, "c++" if driver == "g++" else "c"),
    )


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("deps", ["-MD", "-MMD"])
def test_the_same_bytes(client: NativeClient, gxx: Toolchain, work: str, absolute: bool, deps: str) -> None:
    os.makedirs(f"{work}/inc")
    os.makedirs(f"{work}/obj")
    files = {
        f"{work}/a.cc": b"#include <vector>\n#include <cassert>\n#include <x.h>\n"
        b"int f(std::vector<int> v) { int unused; assert(v.size()); return v.at(0) + g(); }\n",
        f"{work}/inc/x.h": b"inline int g() { return sizeof __FILE__; }\nstatic const char *name = __FILE__;\n",
    }
    here = f"{work}/" if absolute else ""
    argv = ["g++", "-O1", "-Wall", f"-I{here}inc", deps, "-MP", "-MF", f"{here}obj/a.d"]
    argv += ["-c", f"{here}a.cc", "-o", f"{here}obj/a.o"]
    for path, data in files.items():
        with open(path, "wb") as file:
            file.write(data)
    done = subprocess.run(argv, cwd=work, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"})
    spec = Spec(argv, work, files, folders=include_folders("g++", "c++"), writable=[work, f"{work}/obj"])
    spec.outputs = [f"{work}/obj/a.o", f"{work}/obj/a.d"]
    spec.inputs = includes_of("g++", ["-O1", "-Iinc", "a.cc"], work)
    answer = client.run(gxx, spec)
    assert answer.exit_code == 0, answer
    assert answer.stderr == done.stderr and b"unused" in done.stderr
    for path in spec.outputs:
        with open(path, "rb") as file:
            assert answer.outputs[path] == file.read(), path


def test_an_error_of_the_source(client: NativeClient, gcc: Toolchain, work: str) -> None:
    answer = client.run(gcc, plain('#include "h.h"\n', work))
    assert answer.refused  # what is missing cannot be told from what is hidden
    answer = client.run(gcc, plain("int f(void) { return y; }\n", work))
    assert answer.exit_code == 1 and answer.stderr.startswith(b"a.c: In function 'f'")


@pytest.mark.parametrize(
    "more",
    [["-g"], ["-save-temps"], ["--coverage"], ["-flto"], ["-fverbose-asm"], ["-ffile-prefix-map=/a=/b"], ["-nostdinc"],
     ["--sysroot=/"], ["-I=/usr"], ["-frecord-gcc-switches"], ["-fstack-usage"], ["-I../../../../../../../../usr"],
     ["-Wa,-I/etc"], ["-Wp,-MD,x.d"], ["-frandom-seed=1"], ["-fdump-tree-all"]],
)  # fmt: skip
def test_what_would_show_paths_is_refused(client: NativeClient, gcc: Toolchain, work: str, more: list[str]) -> None:
    answer = client.run(gcc, plain("int x;\n", work, *more))
    assert answer.refused and answer.code == "node-refused" and answer.sentence


@pytest.mark.parametrize(
    "source",
    [
        '#include "/etc/passwd"\n',
        '#include "../../../../../../../../../../../../etc/passwd"\n',
        '#define A "/etc/" \n#define P <../../../../../../../../../../../../../../etc/passwd>\n#include P\n',
        '%:include "/etc/passwd"\n',
        '__asm__(".incbin \\"/etc/hostname\\"");\n',
        '__asm__(".inc" "bin \\"/etc/hostname\\"");\n',
        '__asm__(".incbin \\"../../../../../../../../../../../../etc/hostname\\"");\n',
        '__asm__(".include \\"/etc/hostname\\"");\n',
    ],
)
def test_files_of_the_machine_are_not_given_away(client: NativeClient, gcc: Toolchain, work: str, source: str) -> None:
    answer = client.run(gcc, plain(source, work))
    assert answer.refused and not answer.outputs
    with open("/etc/passwd", encoding="utf-8") as file:
        first = file.readline().strip()
    assert first not in answer.sentence


def test_messages_in_the_language_of_the_agent_only(client: NativeClient, gcc: Toolchain, work: str) -> None:
    spec = plain("int f(void) { return y; }\n", work)
    spec.env = {"LC_ALL": "C.UTF-8"}
    own = locale_paths(spec.env)
    assert client.run(gcc, spec).refused is bool(own)
    spec.inputs = [*spec.inputs, *own]
    answer = client.run(gcc, spec)
    assert answer.exit_code == 1 and b"error" in answer.stderr
    spec.files["/usr/lib/locale/xx_YY/LC_CTYPE"] = b""
    assert client.run(gcc, spec).refused
    spec.env = {"CPATH": "/etc"}
    assert client.run(gcc, spec).refused


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../../../../../../../../etc/passwd"])
def test_links_stay_within_the_folder(client: NativeClient, gcc: Toolchain, work: str, target: str) -> None:
    spec = plain('#include "l.h"\n', work)
    spec.links = {f"{work}/l.h": target}
    answer = client.run(gcc, spec)
    assert answer.refused and not answer.outputs
    spec.files["/etc/passwd"] = b"#define P 1\n"
    if target.startswith("/"):
        assert client.run(gcc, spec).exit_code == 0


def test_the_store_cannot_be_written_to(client: NativeClient, gcc: Toolchain, work: str) -> None:
    spec = plain('#include "sub/h.h"\nint x = H;\n', work)
    spec.files[f"{work}/sub/h.h"] = b"#define H 1\n"
    spec.argv = ["gcc", "-MD", "-MP", "-MF", "sub/h.h", "-c", "a.c", "-o", "a.o"]
    spec.writable = [work, f"{work}/sub"]
    spec.outputs = [f"{work}/a.o", f"{work}/sub/h.h"]
    first = client.run(gcc, spec)
    assert first.outputs[f"{work}/sub/h.h"].startswith(b"a.o: ")
    assert client.run(gcc, spec).outputs == first.outputs


@pytest.mark.parametrize("way", ["absolute link", "link by link", "argument by link"])
def test_nothing_is_written_outside_of_the_folder(
    client: NativeClient, gcc: Toolchain, work: str, tmp_path: Path, way: str
) -> None:
    up = "/.." * 20
    spec = plain("int x;\n", work)
    deep = work + "/d" * 24
    spec.folders = [*spec.folders, deep, str(tmp_path)]
    spec.links = {f"{work}/out": f"{up}{tmp_path}"}
    output = "out/planted.o"
    if way != "absolute link":
        spec.links = {f"{deep}/root": "/"}
        spec.cwd = deep
        spec.files[f"{deep}/a.c"] = b"int x;\n"
        output = f"root{up}{tmp_path}/planted.o"
    if way == "link by link":
        spec.links[f"{deep}/out"] = f"root{up}{tmp_path}"
        output = "out/planted.o"
    spec.argv = ["gcc", "-c", "a.c", "-o", output]
    spec.writable = [spec.cwd, str(tmp_path)]
    spec.outputs = [str(tmp_path / "planted.o")]
    answer = client.run(gcc, spec)
    assert os.listdir(tmp_path) == []
    assert answer.refused, answer


@pytest.mark.parametrize("driver", ["gcc", "g++"])
def test_what_is_read_is_asked_of_the_compile_itself(
    client: NativeClient, gcc: Toolchain, gxx: Toolchain, work: str, driver: str
) -> None:
    """A pragma changes macros where something is compiled, not where it is only preprocessed."""
    text = (
        '#pragma GCC optimize ("O2")\n#ifdef __OPTIMIZE__\n#include "/etc/passwd"\n#endif\nint f(void) { return 1; }\n'
    )
    name = "a.c" if driver == "gcc" else "a.cc"
    answer = client.run(gcc if driver == "gcc" else gxx, plain(text, work, driver=driver, name=name))
    with open("/etc/passwd", encoding="utf-8") as file:
        first = file.readline().strip()
    assert first.encode() not in answer.stderr
    assert answer.refused or answer.exit_code == 0


@pytest.mark.parametrize(
    "line", ['#line 1 "/etc/passwd"', '# 1 "/etc/passwd"', '#line 1 "../../../../../../../etc/passwd"']
)
@pytest.mark.parametrize(
    "code", ["int x = y;", "#warning here", "int f(int *p) { int a[2] = {0}; return a[5] + p[0]; }"]
)
def test_messages_quote_no_file_of_the_machine(
    client: NativeClient, gcc: Toolchain, work: str, line: str, code: str
) -> None:
    answer = client.run(gcc, plain(f"{line}\n{code}\n", work, "-O2", "-Wall"))
    assert answer.refused, answer


def test_messages_quote_files_that_were_sent(client: NativeClient, gcc: Toolchain, work: str) -> None:
    spec = plain('#include "h.h"\nint g(void) { int a; return a; }\n', work, "-O2", "-Wall")
    spec.files[f"{work}/h.h"] = b"static int f(void) { int unused; return 1; }\n"
    for path, data in spec.files.items():
        Path(path).write_bytes(data)
    done = subprocess.run(spec.argv, cwd=work, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"})
    answer = client.run(gcc, spec)
    assert (answer.exit_code, answer.stderr) == (0, done.stderr)
    assert b"uninitialized" in done.stderr and b"In file included" in done.stderr
