"""manycc-ident: the assembly's own last .ident is replaced, nothing else, and the assembler gets what it was given."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from manycc.node.equivalent import find_ident_program
from manycc.testing.requirements import need

FROM, TO = "GCC: (Debian 12.2.0-14) 12.2.0", "GCC: (Debian 12.2.0-14+deb12u1) 12.2.0"
TAIL = '\t.section\t.note.GNU-stack,"",@progbits\n'
SHOW = '#!/bin/sh\nfor last; do :; done\ncase "$last" in *.s) cat "$last";; *) cat;; esac\necho "$0 $*" >&2\nenv >&2\n'


def run(folder: Path, arguments: list[str], text: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    """The program in front of an assembler that shows what it is given."""
    program = find_ident_program()
    assert program, "manycc-ident is not built"
    assembler = folder / "as"
    if not assembler.exists():
        assembler.write_text(SHOW)
        assembler.chmod(0o755)
    variables = {"PATH": os.defpath, "MANYCC_AS": str(assembler), "MANYCC_IDENT_FROM": FROM, "MANYCC_IDENT_TO": TO}
    return subprocess.run(
        [program, *arguments], input=text, env={**variables, **env}, cwd=folder, capture_output=True, check=False
    )


def ident(text: str) -> str:
    return f'\t.ident\t"{text}"\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\tnop\n" + ident(FROM) + TAIL, "\tnop\n" + ident(TO) + TAIL),
        (ident(FROM), ident(TO)),  # the first line, and the last
        (ident(FROM) + "\tnop\n" + ident(FROM), ident(FROM) + "\tnop\n" + ident(TO)),
        (ident("mine") + ident(FROM) + TAIL, ident("mine") + ident(TO) + TAIL),
        (ident(FROM) + ident("mine"), ident(FROM) + ident("mine")),  # the compiler wrote none: it comes last
        (f'\t.string\t"{FROM}"\n', f'\t.string\t"{FROM}"\n'),
        (ident(FROM)[:-1], ident(FROM)[:-1]),  # cut short
        (ident(FROM + "x"), ident(FROM + "x")),
        (" .ident " + FROM + "\n", " .ident " + FROM + "\n"),
        ("", ""),
        ("\n\n\n", "\n\n\n"),
    ],
)
@pytest.mark.parametrize("way", ["file", "stdin", "dash"])
def test_the_last_one_is_replaced(tmp_path: Path, before: str, after: str, way: str) -> None:
    source = tmp_path / "x.s"
    source.write_text(before)
    arguments = {"file": ["--64", "-o", "x.o", "x.s"], "stdin": ["--64", "-o", "x.o"], "dash": ["-o", "x.o", "-"]}[way]
    done = run(tmp_path, arguments, b"" if way == "file" else before.encode())
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == after
    assert source.read_text() == (after if way == "file" else before)


@pytest.mark.parametrize("to", ["short", "a much longer string than the one before, by a lot: " + "x" * 300, ""])
def test_of_any_length(tmp_path: Path, to: str) -> None:
    body = "\tnop\n" * 50_000
    (tmp_path / "x.s").write_text(body + ident(FROM) + TAIL * 100)
    done = run(tmp_path, ["x.s"], MANYCC_IDENT_TO=to)
    assert done.stdout.decode() == body + ident(to) + TAIL * 100


def test_the_assembler_is_run_as_it_was_called(tmp_path: Path) -> None:
    (tmp_path / "x.s").write_text("")
    said = run(tmp_path, ["-I", "a b", "x.s"]).stderr.decode()
    assert said.startswith(f"{tmp_path}/as -I a b x.s\n")
    assert "MANYCC_" not in said


def test_what_it_cannot_do_it_says(tmp_path: Path) -> None:
    done = run(tmp_path, ["x.s"], MANYCC_AS=str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"none: No such file" in done.stderr
    program = find_ident_program()
    assert subprocess.run([program, "x.s"], env={}, capture_output=True, check=False).returncode == 1


def test_a_file_that_is_not_there_is_the_assemblers_affair(tmp_path: Path) -> None:
    done = run(tmp_path, ["none.s"])
    assert b"manycc-ident" not in done.stderr and b"none.s" in done.stderr


def test_in_front_of_the_real_one(tmp_path: Path) -> None:
    need("gcc", "as")
    (tmp_path / "a.c").write_text("int f(void) { return 1; }\n")
    subprocess.run(["gcc", "-S", "a.c"], cwd=tmp_path, check=True)
    text = (tmp_path / "a.s").read_text()
    own = text.split('.ident\t"')[1].split('"')[0]
    (tmp_path / "wanted.s").write_text(text.replace(own, TO))
    subprocess.run(["as", "wanted.s", "-o", "wanted.o"], cwd=tmp_path, check=True)
    done = run(tmp_path, ["-o", "a.o", "a.s"], MANYCC_AS=str(shutil.which("as")), MANYCC_IDENT_FROM=own)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.o").read_bytes() == (tmp_path / "wanted.o").read_bytes()
