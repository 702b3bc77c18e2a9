"""What must hold for any command line."""

from __future__ import annotations

import dataclasses
import shlex

from hypothesis import given, settings
from hypothesis import strategies as st
from test_real_commands import LOCAL, SENT

from manycc.command.names import F_NAMES, M_NAMES
from manycc.command.options import OPTIONS, Action, Attach
from manycc.command.parse import Command, parse
from manycc.errors import NotDistributable
from manycc.reasons import Reason

_WORDS = [
    *{word for _, line, *_ in [*SENT, *LOCAL] for word in shlex.split(line)},
    *(option.name for option in OPTIONS),
    "-", "", "a.c", "b.cc", "a.S", "a.o", "/dev/null", "@x", "-Wp,-MD,", "-Wa,", "=x", "/", "..", ".", ".c", "\0",
]  # fmt: skip

argument = st.one_of(
    st.sampled_from(_WORDS),
    st.tuples(st.sampled_from(_WORDS), st.sampled_from(_WORDS)).map("".join),
    st.text(st.characters(blacklist_categories=()), max_size=12),
    st.text(max_size=4).map("-".__add__),
)
driver = st.sampled_from(["gcc", "g++", "clang", "clang++", "/usr/bin/cc", "ld"])


@settings(max_examples=400)
@given(st.lists(argument, max_size=12), driver, st.booleans())
def test_nothing_but_a_reason_is_raised(arguments: list[str], name: str, compiles: bool) -> None:
    argv = [name, *arguments] + (["-c", "a.c"] if compiles else [])
    try:
        command = parse(argv, "/work", {}, None)
    except NotDistributable as refusal:
        assert isinstance(refusal.reason, Reason)
        return
    assert command.argv == tuple(argv)
    assert command.source
    assert "/dev/null" not in command.outputs
    assert len(set(command.outputs)) == len(command.outputs)
    for path in (*command.outputs, *command.stems):
        assert path.rpartition("/")[0] in ("", *command.folders) or path[0] == "/"


@given(st.lists(argument, max_size=8), st.binary(max_size=60))
def test_response_files_raise_nothing_else_either(arguments: list[str], data: bytes) -> None:
    try:
        parse(["gcc", *arguments, "@file"], "/work", {}, lambda path: data)
    except NotDistributable:
        pass


_VALUE = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, blacklist_characters="=$,@"), min_size=1, max_size=9
)
_EITHER = [option for option in OPTIONS if option.attach is Attach.EITHER and option.reason is None]


def _without_argv(command: Command) -> dict[str, object]:
    fields = dataclasses.asdict(command)
    for name in ("argv", "probe_args"):
        del fields[name]
    return fields


def _result(argv: list[str]) -> dict[str, object] | Reason:
    try:
        return _without_argv(parse(argv, "/work", {}, None))
    except NotDistributable as refusal:
        return refusal.reason


@given(st.sampled_from(_EITHER), _VALUE)
def test_joined_and_separate_spellings_are_the_same(option: object, value: str) -> None:
    name = option.name  # type: ignore[attr-defined]
    only = option.only  # type: ignore[attr-defined]
    if any(other.name.startswith(name) and (name + value).startswith(other.name) and other is not option
           for other in OPTIONS):  # fmt: skip
        return  # the joined spelling is another option: -isystem -after
    compiler = only or "gcc"
    before = ["-iprefix", "p/"] if name.startswith("-iwith") else []
    tail = [] if name == "-x" else ["-c", "a.c"]
    head = ["-c"] if name == "-x" else []
    end = ["a.c"] if name == "-x" else []
    joined = _result([compiler, *head, *before, name + value, *tail, *end])
    separate = _result([compiler, *head, *before, name, value, *tail, *end])
    assert joined == separate


_QUIET = sorted(
    {option.name for option in OPTIONS
     if option.attach is Attach.NONE and option.reason is None and option.only == ""
     and option.action in (Action.NOTHING, Action.DEPS, Action.BESIDE, Action.DEBUG)}
    | {"-I" + name for name in "abc"} | {"-DX=1", "-Wall", "-O2", "-std=c11", "-fdump-tree-all", "-save-temps"}
)  # fmt: skip


@given(st.lists(st.sampled_from(_QUIET), unique=True, max_size=10), st.randoms(use_true_random=False))
def test_order_does_not_change_the_outputs(options: list[str], random: object) -> None:
    shuffled = [*options, "-c", "src/a.c"]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first = parse(["gcc", *options, "-c", "src/a.c", "-o", "obj/a.o"], "/work", {}, None)
    second = parse(["gcc", "-o", "obj/a.o", *shuffled], "/work", {}, None)
    assert set(first.outputs) == set(second.outputs)
    assert first.output == second.output
    assert first.stems == second.stems
    assert set(first.folders) == set(second.folders)


_PLAIN = sorted(
    [f"-f{name}" for name in F_NAMES if name[-1] not in "=-"]
    + [f"-m{name}" for name in M_NAMES if name[-1] not in "=-"]
    + [f"-fno-{name}" for name in F_NAMES if name[-1] not in "=-" and not name.startswith("builtin")]
    + ["-pipe", "-pthread", "-ansi", "-gz", "-ggdb3", "-MD", "-MP", "-nostdinc", "-undef", "-static", "-shared"]
)


@given(st.sampled_from(_PLAIN), st.sampled_from(["qzx", "-qzx", "=qzx"]))
def test_a_suffix_makes_an_option_unknown(option: str, suffix: str) -> None:
    parse(["gcc", "-c", "a.c", option], "/work", {}, None)
    changed = option + suffix
    if changed.partition("=")[0][2:] + "=" in F_NAMES | M_NAMES or changed[5:].partition("=")[0] + "=" in F_NAMES:
        return  # known with a value, too
    if any(row.attach is not Attach.NONE and changed.startswith(row.name) and len(row.name) > 2 for row in OPTIONS):
        return
    try:
        parse(["gcc", "-c", "a.c", changed], "/work", {}, None)
    except NotDistributable as refusal:
        assert refusal.reason is Reason.UNKNOWN_OPTION
        assert changed in refusal.detail
    else:
        raise AssertionError(changed)
