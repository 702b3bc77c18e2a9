"""Verdicts about equivalent compilers: kept, bounded, by all that they depend on; and the options they are about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manycc.command.codegen import code_options, random_names
from manycc.errors import NotDistributable
from manycc.job import Toolchain
from manycc.toolchain import equivalence
from manycc.toolchain.equivalence import Offer, Verdicts, basic_difference, key_of, new_verdict

FACTS = {"family": "gcc", "version": "12.2.0", "triple": "aarch64-linux-gnu", "ident": "GCC: (X) 12.2.0", "pie": "PIE"}
HERE = Toolchain("a" * 64, "/usr/bin/gcc", "gcc", "12", "t", "gcc here", (), (), {}, "aarch64", FACTS)
OFFER = Offer("b" * 64, "gcc there", "/usr/bin/t-gcc", {**FACTS, "ident": "GCC: (Y) 12.2.0"})


def verdict(refusal: str = "") -> equivalence.Verdict:
    return new_verdict(HERE, OFFER, "c", ("-O2", "-g"), refusal, {"canary.c": "12"})


def test_they_are_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "known.json")
    verdicts = Verdicts(path)
    assert verdicts.get("k") is None
    verdicts.put("k", verdict("it differs"))
    again = Verdicts(path).get("k")
    assert again == verdicts.get("k")
    assert again is not None
    assert (again.here, again.there, again.options, again.refusal) == ("gcc here", "gcc there", "-O2 -g", "it differs")
    assert dict(again.evidence) == {"canary.c": "12"}


def test_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equivalence, "MAX_VERDICTS", 3)
    verdicts = Verdicts(str(tmp_path / "known.json"))
    for name in "abcde":
        verdicts.put(name, verdict())
    assert [name for name in "abcde" if verdicts.get(name)] == ["c", "d", "e"]
    assert len(Verdicts(str(tmp_path / "known.json")).all()) == 3


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"generation": 1}', '{"verdicts": {}}', "\x00", "[" * 100_000]
)
def test_a_damaged_file_is_no_verdict(tmp_path: Path, text: str) -> None:
    path = tmp_path / "known.json"
    path.write_text(text)
    verdicts = Verdicts(str(path))
    assert verdicts.all() == []
    verdicts.put("k", verdict())
    assert Verdicts(str(path)).get("k") is not None


def test_damaged_entries_are_none(tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    Verdicts(str(path)).put("k", verdict())
    said = json.loads(path.read_text())
    said["verdicts"]["k"]["evidence"] = "yes"
    path.write_text(json.dumps(said))
    assert Verdicts(str(path)).get("k") is None


def test_other_canaries_ask_for_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "known.json")
    Verdicts(path).put("k", verdict())
    monkeypatch.setattr(equivalence, "_GENERATION", "other")
    assert Verdicts(path).get("k") is None


def test_a_folder_that_cannot_be_written_costs_no_build(tmp_path: Path) -> None:
    verdicts = Verdicts(str(tmp_path / "none" / "known.json"))
    verdicts.put("k", verdict())
    assert verdicts.get("k") is not None


def test_a_key_is_for_one_pair_and_one_set_of_options() -> None:
    keys = {
        key_of(HERE, OFFER, ("c", "-O2")),
        key_of(HERE, OFFER, ("c", "-O3")),
        key_of(HERE, OFFER, ("c++", "-O2")),
        key_of(HERE, Offer("c" * 64, OFFER.label, OFFER.driver, OFFER.facts), ("c", "-O2")),
    }
    assert len(keys) == 4
    assert key_of(HERE, OFFER, ("c", "-O2")) in keys


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("version", "12.3.0", "gcc 12.2.0 here, gcc 12.3.0 there"),
        ("family", "clang", "gcc 12.2.0 here, clang 12.2.0 there"),
        ("triple", "x86_64-linux-gnu", "aarch64-linux-gnu here, x86_64-linux-gnu there"),
        ("pie", "no", ""),
        ("ident", "", ""),
    ],
)
def test_what_no_canary_is_tried_for(name: str, value: str, said: str) -> None:
    assert basic_difference(HERE, Offer("b" * 64, "l", "/d", {**FACTS, name: value})) == said


def test_nothing_known_is_no_equal() -> None:
    silent = Toolchain("a" * 64, "/usr/bin/gcc", "gcc", "12", "t", "gcc here", (), (), {})
    assert basic_difference(silent, Offer("b" * 64, "l", "/d", {}))


@pytest.mark.parametrize(
    ("command", "language", "options"),
    [
        ("gcc -O2 -g -Wall -DX=1 -I/a -c a.c -o b.o", "c", "-O2 -g"),
        ("gcc -MD -MF x.d -MT y -fPIC -isystem /b -c a.i", "c", "-fPIC"),
        ("g++ -std=c++20 -fno-rtti -mbranch-protection=standard -c a.cc", "c++",
         "-std=c++20 -fno-rtti -mbranch-protection=standard"),
        ("gcc -ffile-prefix-map=/a=. -frandom-seed=a.o -O1 -c a.c", "c", "-O1"),
        ("gcc --param max-inline-insns-single=9 -march=armv8-a -c a.c", "c",
         "--param max-inline-insns-single=9 -march=armv8-a"),
        ("gcc -Wa,--noexecstack -Xassembler -g -c a.S", "assembler-with-cpp", "-Wa,--noexecstack -Xassembler -g"),
        ("gcc -x assembler -c a.c", "assembler", ""),
        ("gcc -S -O2 a.c", "c", "-S -O2"),
        ("gcc -fstack-usage --coverage -c a.c", "c", "-fstack-usage --coverage"),
        ("gcc --sysroot=/s -nostdinc -c a.c", "c", ""),
    ],
)  # fmt: skip
def test_the_options_that_choose_code(command: str, language: str, options: str) -> None:
    found = code_options(tuple(command.split()), "/w", "gcc")
    assert found == (language, tuple(options.split()), "")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("gcc -x objective-c -c a.c", "objective-c"),
        ("gcc -fprofile-use -c a.c", "-fprofile-use reads a profile"),
        ("gcc -fdump-tree-all -c a.c", "-fdump-tree-all writes dumps"),
        ("gcc -save-temps -c a.c", "-save-temps keeps preprocessed source"),
        ("gcc -aux-info x -c a.c", "-aux-info writes further files"),
        ("gcc -da -c a.c", "dumps"),
    ],
)
def test_what_canaries_cannot_stand_for(command: str, why: str) -> None:
    assert why in code_options(tuple(command.split()), "/w", "gcc")[2]


def test_what_no_node_takes_is_no_question() -> None:
    with pytest.raises(NotDistributable):
        code_options(("gcc", "-fplugin=x.so", "-c", "a.c"), "/w", "gcc")


def test_random_names_are_for_gcc() -> None:
    assert random_names(["-O2", "-flto=auto"], "gcc") and random_names(["--coverage"], "gcc")
    assert not random_names(["-flto"], "clang") and not random_names(["-O2"], "gcc")
