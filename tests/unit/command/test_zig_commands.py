"""Commands of two words: ``zig cc`` and ``zig c++``, and which of them another machine can do."""

from __future__ import annotations

import pytest

from manycc.command import zig
from manycc.command.codegen import code_options
from manycc.command.parse import Command, parse
from manycc.command.stock import split
from manycc.errors import NotDistributable
from manycc.reasons import Reason

GNU = ("-target", "x86_64-linux-gnu")


def command(*words: str, env: dict[str, str] | None = None) -> Command:
    return parse(words, "/work", env or {}, None, "clang")


def refusal(*words: str, env: dict[str, str] | None = None) -> tuple[Reason, str]:
    with pytest.raises(NotDistributable) as caught:
        command(*words, env=env)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(("word", "language"), [("cc", "c"), ("c++", "c++")])
def test_the_second_word_is_the_driver(word: str, language: str) -> None:
    read = command("/opt/zig/zig", word, *GNU, "-c", "a.c", "-Iinc", "-MD", "-g")
    assert read.argv[:2] == ("/opt/zig/zig", word)
    assert (read.language, read.source, read.output) == (language, "a.c", "a.o")
    assert read.outputs == ("a.o", "a.d") and read.include_dirs == ("inc",) and read.debug
    assert read.probe_args == (word, *GNU)  # what is asked with them is asked of that driver


@pytest.mark.parametrize("words", [(), ("version",), ("build-exe", "a.zig"), ("ar", "-c", "a.c"), ("-c", "a.c")])
def test_what_else_zig_does_is_no_compile(words: tuple[str, ...]) -> None:
    assert refusal("zig", *words)[0] is Reason.NOT_COMPILE


@pytest.mark.parametrize(
    "target",
    [
        "x86_64-linux-gnu",
        "x86_64-linux-gnu.2.17",
        "aarch64-linux-musl",
        "arm-linux.4.10...6.1-musleabihf",
        "riscv64-linux",
    ],
)
@pytest.mark.parametrize("spelled", ["-target {}", "--target={}"])
def test_linux_targets(target: str, spelled: str) -> None:
    assert command("zig", "cc", *spelled.format(target).split(), "-c", "a.c").source == "a.c"


@pytest.mark.parametrize(
    "target",
    [
        "native",
        "native-linux-gnu",
        "x86_64-native",
        "x86_64-linux-native",
        "x86_64-windows-gnu",
        "aarch64-macos",
        "linux",
    ],
)
def test_other_targets(target: str) -> None:
    assert refusal("zig", "cc", "-target", target, "-c", "a.c") == (Reason.LOCAL_OPTION, f"-target {target}")
    # The last is not always the one that counts.
    assert refusal("zig", "cc", *GNU, f"--target={target}", "-c", "a.c")[0] is Reason.LOCAL_OPTION
    assert refusal("zig", "cc", "-target", target, *GNU, "-c", "a.c")[0] is Reason.LOCAL_OPTION


def test_without_a_target_it_is_for_this_machine() -> None:
    assert refusal("zig", "cc", "-c", "a.c")[0] is Reason.NATIVE_TARGET
    assert refusal("zig", "cc", "-c", "a.c", "-mcpu=baseline")[0] is Reason.NATIVE_TARGET


@pytest.mark.parametrize(
    "options",
    ["-mcpu=native", "-mcpu=native+avx2", "-march=native", "-gsplit-dwarf", "--coverage", "-ftime-trace", "-save-temps",
     "-S", "-frecord-command-line", "-fsave-optimization-record", "-MJ x.json", "-m32",
     "-fprofile-use", "-o /dev/null"],
)  # fmt: skip
def test_options_that_stay(options: str) -> None:
    assert refusal("zig", "cc", *GNU, "-c", "a.c", *options.split())[0] is Reason.LOCAL_OPTION


@pytest.mark.parametrize("name", zig.VARIABLES)
def test_variables_that_stay(name: str) -> None:
    assert refusal("zig", "cc", *GNU, "-c", "a.c", env={name: "/x"}) == (Reason.ENVIRONMENT, name)
    assert parse(("clang", "-c", "a.c"), "/work", {name: "/x"}, None).source == "a.c"


def test_a_stock_server_is_not_asked() -> None:
    with pytest.raises(NotDistributable) as caught:
        split(("zig", "cc", *GNU, "-c", "a.c"), "/work", "clang")
    assert caught.value.reason is Reason.STOCK_CANNOT


def test_the_options_that_choose_code() -> None:
    language, options, why = code_options(("zig", "c++", *GNU, "-O2", "-c", "a.cc"), "/work", "clang")
    assert (language, options, why) == ("c++", (*GNU, "-O2"), "")
