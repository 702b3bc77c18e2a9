"""What compilers say of themselves, how two differ, and which options remove the difference."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.job import Toolchain
from manycc.testing.requirements import need
from manycc.toolchain import facts, probe
from manycc.toolchain.facts import MAX_FACT, MAX_FACTS, difference, explicit, from_peer, under

Identify = Callable[[str], Toolchain]
RASPBIAN = ["-march=armv6", "-mfpu=vfp", "-mfloat-abi=hard", "-marm"]
"""What Raspbian's gcc is configured to do by default."""

CODE = """
__thread int own; double held[8]; extern int outside(char *);
int f(int *at) { char room[40]; return outside(room) + own + __atomic_fetch_add(at, 1, 5); }
void g(double *a) { for (int i = 0; i < 8; i++) held[i] += a[i] * 1.5; }
"""


@pytest.fixture(scope="module")
def armhf(identify: Identify) -> Toolchain:
    need("arm-linux-gnueabihf-gcc")
    return identify(str(shutil.which("arm-linux-gnueabihf-gcc")))


@pytest.fixture(scope="module")
def aarch64(identify: Identify) -> Toolchain:
    need("aarch64-linux-gnu-gcc")
    return identify(str(shutil.which("aarch64-linux-gnu-gcc")))


def ask(toolchain: Toolchain, *options: str) -> dict[str, str]:
    return asyncio.run(under(toolchain, options, os.environ))


def made(toolchain: Toolchain, folder: Path, *options: str) -> bytes:
    (folder / "a.c").write_text(CODE)
    subprocess.run([toolchain.driver, *options, "-c", "a.c"], cwd=folder, check=True)
    return (folder / "a.o").read_bytes()


def test_facts_of_the_compiler_here(gcc: Toolchain) -> None:
    said = subprocess.run([gcc.driver, "-S", "-x", "c", "/dev/null", "-o", "-"], capture_output=True, text=True)
    assert f'"{gcc.facts["ident"]}"' in said.stdout
    version = subprocess.run(["as", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    assert gcc.facts["binutils"] in version
    assert gcc.facts["family"] == "gcc" and gcc.facts["version"] == gcc.version
    assert gcc.facts["macros-c"] != gcc.facts["macros-c++"]
    assert len(gcc.facts) <= MAX_FACTS and from_peer(dict(gcc.facts)) == gcc.facts
    if gcc.target == "x86_64-linux-gnu":
        assert (gcc.host, gcc.facts["triple"], gcc.facts["arch"]) == ("x86-64", "x86_64-linux-gnu", "x86-64")


def test_defaults_are_told_as_options_change_them(gcc: Toolchain) -> None:
    changed = ask(gcc, "-fno-pie", "-fstack-protector-strong", "-fstack-clash-protection")
    assert (changed["pie"], changed["ssp"], changed["stack-clash"]) == ("no", "strong", "yes")
    assert ask(gcc, "-fpie")["pie"] == "pie" and ask(gcc, "-fPIC")["pie"] == "PIC"
    if gcc.facts["triple"].startswith("x86_64"):
        assert ask(gcc, "-fcf-protection=branch")["cf-protection"] == "branch"
        assert ask(gcc, "-m32")["triple"] == "i686-linux-gnu"


def test_options_it_does_not_know(gcc: Toolchain) -> None:
    assert ask(gcc, "-mno-such-option") == {}


def test_a_cross_compiler(aarch64: Toolchain, gcc: Toolchain) -> None:
    assert (aarch64.host, aarch64.facts["triple"]) == (gcc.host, "aarch64-linux-gnu")
    assert aarch64.facts["arch"] == "armv8-a" and aarch64.facts["branch-protection"] == "none"
    assert ask(aarch64, "-mbranch-protection=standard")["branch-protection"] == "bti+pac-ret"
    assert ask(aarch64, "-mbranch-protection=pac-ret+leaf+b-key")["branch-protection"] == "pac-ret+leaf+b-key"
    assert difference(aarch64.facts, gcc.facts).endswith("linux-gnu there")


def test_clang_under_another_target(identify: Identify, clang_names: tuple[str, str]) -> None:
    clang = identify(clang_names[0])
    assert clang.facts["binutils"] == facts.INTEGRATED
    assert "clang version" in clang.facts["ident"]
    said = ask(clang, "--target=aarch64-unknown-linux-gnu")
    assert (said["triple"], said["ident"]) == ("aarch64-linux-gnu", clang.facts["ident"])
    arm = ask(clang, "--target=armv6-linux-gnueabihf")
    assert (arm["triple"], arm["arch"], arm["float-abi"]) == ("arm-linux-gnueabihf", "armv6", "hard")
    options = explicit(arm, ask(clang, "--target=armv7-linux-gnueabihf"))
    assert any(option.startswith("-mcpu=") for option in options)


def test_raspbian_and_debian_are_told_apart_and_brought_together(armhf: Toolchain, tmp_path: Path) -> None:
    raspbian = ask(armhf, *RASPBIAN)
    assert raspbian["triple"] == armhf.facts["triple"] == "arm-linux-gnueabihf"
    assert raspbian["arch"].startswith("armv6") and armhf.facts["arch"].startswith("armv7-a")
    assert difference(raspbian, armhf.facts) == f"{raspbian['arch']} here, {armhf.facts['arch']} there"
    assert made(armhf, tmp_path, *RASPBIAN) != made(armhf, tmp_path)
    options = explicit(raspbian, armhf.facts)
    assert difference(raspbian, ask(armhf, *options)) == ""


@pytest.mark.parametrize(
    "flags",
    [[], ["-O2", "-g"], ["-O2", "-fPIC"], ["-O1", "-g", "-mcpu=cortex-a7"], ["-march=armv7-a+fp", "-g"], ["-mthumb"],
     ["-mfpu=neon", "-march=armv7-a", "-mfloat-abi=softfp", "-g"], ["-mtune=cortex-a53", "-g"]],
    ids=" ".join,
)  # fmt: skip
def test_a_compiler_with_the_defaults_of_another(
    flags: list[str], armhf: Toolchain, identify: Identify, tmp_path: Path
) -> None:
    """Debian builds one gcc for ARMv5 without floats, and for ARMv7 with them: each stands in for the other."""
    need("arm-linux-gnueabi-gcc")
    armel = identify(str(shutil.which("arm-linux-gnueabi-gcc")))
    assert (armel.facts["triple"], armel.facts["arch"]) == ("arm-linux-gnueabi", "armv5te")
    assert made(armel, tmp_path) != made(armhf, tmp_path)
    for mine, theirs in ((armel, armhf), (armhf, armel)):
        there = made(theirs, tmp_path, *flags, *explicit(mine.facts, theirs.facts, flags))
        assert there == made(mine, tmp_path, *flags)


@pytest.mark.parametrize(
    "defaults",
    [["-fno-pie"], ["-fstack-protector-strong"], ["-fstack-clash-protection"], ["-fno-asynchronous-unwind-tables"],
     ["-fstack-protector-all", "-fPIC"]],
    ids=" ".join,
)  # fmt: skip
def test_explicit_options_remove_a_difference(defaults: list[str], gcc: Toolchain, tmp_path: Path) -> None:
    """As if the compiler here were configured so, and the one there not."""
    mine = ask(gcc, *defaults)
    if mine == gcc.facts:
        pytest.skip("this compiler has these defaults")
    assert difference(mine, gcc.facts) != ""
    options = explicit(mine, gcc.facts)
    assert made(gcc, tmp_path, *options) == made(gcc, tmp_path, *defaults)


def test_equal_compilers_need_nothing(gcc: Toolchain) -> None:
    assert difference(gcc.facts, dict(gcc.facts)) == ""
    assert explicit(gcc.facts, gcc.facts) == []
    assert explicit(gcc.facts) != []


def test_what_a_command_says_itself_is_left_out(gcc: Toolchain) -> None:
    said = explicit(gcc.facts, None, ["-march=haswell", "-fno-pie", "-fstack-protector", "-fcf-protection=none"])
    assert not [option for option in said if "pie" in option.lower() or "protector" in option or "march" in option]


def test_fortify_only_where_it_is_predefined() -> None:
    mine, theirs = {"fortify": "2"}, {"fortify": "no"}
    assert explicit(mine, theirs, ["-O2"]) == ["-D_FORTIFY_SOURCE=2"]
    assert explicit(theirs, mine, ["-Os"]) == ["-U_FORTIFY_SOURCE"]
    for argv in ([], ["-O2", "-O0"], ["-O2", "-Wp,-D_FORTIFY_SOURCE=3"], ["-O2", "-U_FORTIFY_SOURCE"]):
        assert explicit(mine, theirs, argv) == []


HERE = {
    "family": "gcc", "version": "12.2.0", "triple": "aarch64-linux-gnu", "pie": "PIE", "branch-protection": "none",
    "binutils": "2.38", "macros-c": "1", "macros-c++": "1", "ident": "GCC: (Debian 12.2.0-14) 12.2.0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ({}, ""),
        ({"version": "12.3.0"}, "gcc 12.2.0 here, gcc 12.3.0 there"),
        ({"family": "clang"}, "gcc 12.2.0 here, clang 12.2.0 there"),
        ({"triple": "arm-linux-gnueabihf"}, "aarch64-linux-gnu here, arm-linux-gnueabihf there"),
        ({"pie": "no"}, "default PIE differs: PIE here, no there"),
        ({"branch-protection": "bti"}, "-mbranch-protection differs: none here, bti there"),
        ({"binutils": "2.40"}, "binutils 2.38 here, 2.40 there"),
        ({"binutils": "2.40", "pie": "no"}, "default PIE differs: PIE here, no there"),
        ({"macros-c++": ""}, "what it predefines for C++ differs"),
        ({"ident": ""}, "another package: GCC: (Debian 12.2.0-14) 12.2.0 here, nothing there"),
        ({"arch": "\x1b[2J" + "x" * 999}, None),
    ],
)
def test_the_first_difference_in_words(there: dict[str, str], sentence: str | None) -> None:
    said = difference(HERE, {**HERE, **there})
    assert said == sentence if sentence is not None else said.isprintable() and len(said) < 2 * MAX_FACT


def test_no_cplusplus_there() -> None:
    there = {name: value for name, value in HERE.items() if name != "macros-c++"}
    assert difference(HERE, there) == "no C++ there"
    assert difference(there, HERE) == "no C++ here"
    assert difference(HERE, there, cplusplus=False) == ""


@pytest.mark.parametrize(
    "values",
    [None, [], {"a": 1}, {1: "a"}, {"": "a"}, {"a": "b\n"}, {"a": "x" * (MAX_FACT + 1)}, {"a\x7f": "b"},
     {str(number): "" for number in range(MAX_FACTS + 1)}],
)  # fmt: skip
def test_facts_of_a_peer_out_of_form(values: object) -> None:
    with pytest.raises(ValueError):
        from_peer(values)


@given(st.dictionaries(st.sampled_from(sorted(HERE)), st.text(max_size=300)), st.lists(st.text(max_size=20)))
def test_options_are_made_of_words_only(theirs: dict[str, str], argv: list[str]) -> None:
    """Facts come from peers, too, and options go into a command."""
    for options in (explicit(theirs, HERE, argv), explicit(HERE, theirs, argv), explicit(theirs)):
        assert all(option.startswith("-") and " " not in option and option.isprintable() for option in options)
    assert difference(HERE, theirs).isprintable()


def test_identification_asks_four_more_questions(
    gcc: Toolchain, identify: Identify, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    before = probe.run_all

    async def counted(commands: list[list[str]], env: dict[str, str]) -> list[probe.Answer]:
        asked.append([list(command) for command in commands])
        return await before(commands, env)

    monkeypatch.setattr(facts.probe, "run_all", counted)
    assert identify(gcc.driver).facts == gcc.facts
    assert len(asked[-1]) == 4
