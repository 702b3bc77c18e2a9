"""Autotools: configure asks through manycc what it would ask the compiler, and gets the same answers as fast."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sources
from tools import Workshop, change, products, report, same_products, workshop

from manycc.testing.requirements import lacking

LONG = bool(os.environ.get("MANYCC_TEST_LONG"))
PACKAGES = {
    "dash": "src/shell.h",
    # libtool compiles each source twice, with and without -fPIC.
    **({"libev": "ev.h", "sed": "lib/xalloc.h"} if LONG else {}),
}
"""Upstream archives with a generated configure, each with a header that several of its sources include."""
SLOWDOWN = 1.5
"""Of the configure step, at most, in processor time: what manycc itself takes is a tenth of what a compile does."""
ANSWERS = ("trial-compile", "not-compile", "preprocess-only", "remote-error", "stdin-source", "several-sources")
"""Why questions of configure steps stay here."""
QUESTIONS = (
    ["-v"],
    ["--version"],
    ["-dumpmachine"],
    ["-dumpversion"],
    ["-print-prog-name=ld"],
    ["-print-search-dirs"],
    ["-print-multi-os-directory"],
    ["-print-sysroot"],
    ["-V"],
    ["-qversion"],
    ["-E", "conftest.c"],
    ["-E", "-P", "-"],
    ["-dM", "-E", "-x", "c", "-"],
    ["-c", "-x", "c", "-", "-o", "stdin.o"],
    ["-c", "conftest.c"],
    ["-c", "broken.c"],
    ["-c", "-Wno-such-warning-exists", "conftest.c"],
    ["-c", "-no-such-option", "conftest.c"],
    ["-c", "conftest.c", "other.c"],
    ["-o", "conftest", "conftest.c"],
    ["-o", "conftest", "conftest.c", "other.c", "-lm"],
    ["-o", "conftest", "conftest.c", "-lno_such_library"],
    ["-Wl,--version"],
    ["-Wl,--help", "-shared"],
    [],
)
"""What autoconf, libtool and build scripts ask."""


@pytest.fixture(scope="module")
def shop(session_folder: str) -> Iterator[Workshop]:
    with workshop(f"{session_folder}/a") as made:
        for compiler in ("gcc", "g++"):  # the agent runs, and the nodes are known: as on any day but the first
            made.run(["manycc", compiler, "-c", "-x", "c", "a", "-o", "/dev/null"], session_folder, code=1)
        yield made


@pytest.mark.timeout(400)
@pytest.mark.parametrize("package", PACKAGES)
def test_configure_and_make(shop: Workshop, tmp_path: Path, package: str) -> None:
    folder = tmp_path / package
    env = {"FORCE_UNSAFE_CONFIGURE": "1", "CFLAGS": "-O0 -g"}

    def unpack() -> None:
        try:
            sources.unpack(package, str(folder))
        except sources.SourceError as error:
            lacking(str(error))

    unpack()
    here = shop.plain(["./configure", "-q"], folder, env)
    answers = (folder / "config.h").read_bytes()
    shop.plain(["make", "-j4"], folder, env)
    wanted = products(folder)

    unpack()
    before = shop.agent_cpu_s()
    wrapped = {**env, "CC": "manycc gcc", "CXX": "manycc g++"}
    configured = shop.run(["./configure", "-q"], folder, wrapped)
    agent_s = shop.agent_cpu_s() - before
    assert (folder / "config.h").read_bytes() == answers
    assert (configured.stdout, configured.stderr) == (here.stdout, here.stderr)
    assert set(configured.reasons) <= set(ANSWERS)
    assert configured.reasons["trial-compile"] + len(configured.remote) >= 20
    report(package, '`CC="manycc gcc" ./configure`', [configured], "autoconf")
    ratio = (configured.cpu_s + agent_s) / here.cpu_s
    print(f"{package}: configure {here.wall_s:.1f} s, with manycc {configured.wall_s:.1f} s; {ratio:.2f} times the CPU")
    assert ratio < SLOWDOWN

    built = shop.run(["make", "-j4"], folder, wrapped)
    built.nothing_failed_over()
    assert set(built.reasons) <= {"not-compile", "preprocess-only"}
    objects = [path for path in wanted if path.endswith(".o")]
    assert len(built.remote) + built.local["not-compile", "compiles and links at once"] >= len(objects)
    same_products(wanted, products(folder))
    report(package, '`CC="manycc gcc"`, make', [built], "automake")

    assert shop.run(["make", "-j4"], folder, wrapped).remote == []
    header = folder / PACKAGES[package]
    naming = {path.stem for path in folder.rglob("*.[Pp]*o") if header.name in path.read_text(errors="replace")}
    stems = {path: path.stem for path in folder.rglob("*.o")}
    before_ns = {path: path.stat().st_mtime_ns for path in stems}
    change(header)
    shop.run(["make", "-j4"], folder, wrapped)
    rewritten = {stem for path, stem in stems.items() if path.stat().st_mtime_ns != before_ns[path]}
    # Some makefiles include no dependency files of sources that they generate.
    assert rewritten <= naming and 2 * len(rewritten) > len(naming & set(stems.values()))


def test_questions_are_answered_as_by_the_compiler(shop: Workshop, tmp_path: Path) -> None:
    files = {
        "conftest.c": "#include <stdio.h>\nint main(void) { return 0; }\n",
        "other.c": "int other;\n",
        "broken.c": "#include <no_such_header.h>\nint main(void) { return undeclared; }\n",
    }
    folder = tmp_path / "w"

    def ask(command: list[str], arguments: list[str]) -> tuple[int, bytes, bytes, dict[str, str]]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        done = subprocess.run(
            [*command, *arguments], cwd=folder, env={**shop.env, "TMPDIR": str(folder)}, input=b"int from_stdin;\n",
            capture_output=True, check=False,
        )  # fmt: skip
        words = b" ".join(word for word in done.stderr.split() if b"/cc" not in word)  # temporary files
        return done.returncode, done.stdout, words, products(folder)

    for arguments in QUESTIONS:
        for compiler in ("gcc", "g++"):
            assert ask(["manycc", compiler], arguments) == ask([compiler], arguments), (compiler, arguments)


def test_the_same_name_again_within_a_second(shop: Workshop, tmp_path: Path) -> None:
    """As configure does it: new text, same name, same length; the object is taken away in between."""
    shop.news()
    source, made = tmp_path / "conftest.c", tmp_path / "conftest.o"
    for number in range(40):
        source.write_text(f"int answer_{number:03d};\n")
        subprocess.run(["manycc", "gcc", "-c", "conftest.c"], cwd=tmp_path, env=shop.env, check=True)
        assert f"answer_{number:03d}".encode() in made.read_bytes()
        made.unlink()
    assert len(shop.news()) == 40


def test_manycc_of_several_configure_steps_at_once(shop: Workshop, tmp_path: Path) -> None:
    """Trial compiles side by side in many folders: none gets another's answer."""
    script = tmp_path / "ask"
    script.write_text(
        "#!/bin/sh\nset -e\nmkdir $1\ncd $1\nfor i in 1 2 3 4 5 6; do\n"
        'echo "int answer_$1_$i;" >conftest.c\nmanycc gcc -c conftest.c\nnm conftest.o | grep -q "answer_$1_$i$"\n'
        "rm conftest.o\ndone\n"
    )
    script.chmod(0o755)
    (tmp_path / "Makefile").write_text("all: $(foreach n,1 2 3 4 5 6 7 8,ask.$(n))\nask.%:\n\t./ask $*\n")
    ran = shop.run(["make", "-s", "-j8"], tmp_path)
    assert ran.stderr == ""
    assert len(ran.remote) + ran.reasons["trial-compile"] == 48
