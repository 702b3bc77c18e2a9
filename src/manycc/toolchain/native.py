"""Spelling out ``native``: the machine the user means is the one where the command was given.

gcc's driver replaces -march=native and its kin by what it finds out about the processor before it
starts cc1. It is asked for that replacement here, and the outcome is proven: the driver must start
cc1 with the very same options for the spelled-out command as for the original one.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from manycc.errors import NotDistributable
from manycc.job import Toolchain
from manycc.reasons import Reason
from manycc.toolchain import probe

_RECORDS_OPTIONS: Final = ("-flto", "-frecord-gcc-switches", "-fverbose-asm")
_MAX_CACHED: Final = 256

_expansions: dict[tuple[str, tuple[str, ...]], tuple[tuple[str, ...], bool]] = {}


async def expand_native(
    toolchain: Toolchain, argv: Sequence[str], native_indexes: Sequence[int], env: Mapping[str, str]
) -> tuple[str, ...]:
    """The command with the arguments at ``native_indexes`` replaced by what they mean on this machine.

    Raises NotDistributable: NATIVE_DEBUG if an option makes the compiler write the options down, in
    their order, into its output; LOCAL_OPTION if the meaning cannot be spelled out. CompilerError if
    the driver cannot be asked.
    """
    for argument in argv:
        if argument.startswith(_RECORDS_OPTIONS) or (argument.startswith("-g") and argument != "-g0"):
            raise NotDistributable(Reason.NATIVE_DEBUG, argument)
    if toolchain.kind != "gcc":
        raise NotDistributable(Reason.LOCAL_OPTION, argv[native_indexes[0]])
    chosen = set(native_indexes)
    machine = tuple(argument for argument in argv[1:] if _chooses_machine(argument))
    key = (toolchain.fingerprint, machine)
    found = _expansions.get(key)
    if found is None:
        found = await _expand(toolchain, machine, [argv[index] for index in native_indexes], env)
        if len(_expansions) >= _MAX_CACHED:
            _expansions.clear()
        _expansions[key] = found
    expansion, in_front = found
    place = 1 if in_front else max(chosen)
    return _without(argv[:place], chosen) + expansion + _without(argv[place:], {index - place for index in chosen})


def _without(argv: Sequence[str], indexes: set[int]) -> tuple[str, ...]:
    return tuple(argument for index, argument in enumerate(argv) if index not in indexes)


async def _expand(
    toolchain: Toolchain, machine: Sequence[str], natives: Sequence[str], env: Mapping[str, str]
) -> tuple[tuple[str, ...], bool]:
    """What native stands for among the given options, and whether that belongs in front of them all
    or where the last native is."""
    plain = [argument for argument in machine if argument not in natives]
    meant, said = await _options(toolchain, machine, env)
    common = Counter((await _options(toolchain, plain, env))[0])
    expansion: list[str] = []
    for option in meant:
        if common[option]:
            common[option] -= 1
        else:
            expansion.append(option)
    last = max(index for index, argument in enumerate(machine) if argument in natives)
    before = [argument for argument in machine[:last] if argument not in natives]
    # The driver itself puts the features of native in front of all others, so that explicit options
    # win over them; but an architecture that is named later wins over one that is named before.
    for in_front, spelled_out in ((True, [*expansion, *plain]), (False, [*before, *expansion, *plain[len(before) :]])):
        options, says = await _options(toolchain, spelled_out, env)
        same = says == said and _in_effect(options) == _in_effect(meant)
        if same and not any("native" in option for option in options):
            return tuple(expansion), in_front
    raise NotDistributable(Reason.LOCAL_OPTION, " ".join(natives))


async def _options(toolchain: Toolchain, machine: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The options that choose machine and tuning among those the driver gives to cc1 and to as; and what it
    has to say about them."""
    argv = [toolchain.driver, *machine, "-###", "-c", "-x", "c", "/dev/null"]
    answer = await probe.run(argv, probe.environment(env))
    options: list[str] = []
    says: list[str] = []
    for line in answer.stderr.splitlines():
        if line.startswith(os.path.basename(toolchain.driver) + ": "):
            says.append(line)
        if line.startswith(" "):
            words = shlex.split(line)
            if words and words[0].rpartition("/")[2] == "cc1":
                words = [
                    f"--param={following}" if word == "--param" else word
                    for word, following in zip(words, [*words[1:], ""], strict=True)
                ]
                options = [word for word in words if _chooses_machine(word)]
    if answer.code or not options:
        raise NotDistributable(Reason.LOCAL_OPTION, " ".join(machine))
    return options, says


def _chooses_machine(argument: str) -> bool:
    return argument.startswith(("-m", "--param="))


def _in_effect(options: Sequence[str]) -> list[list[str]]:
    """The options that count, in their order: of each option and its negation, the last. Parameters
    and machine options are apart, since they do not touch each other."""
    last: dict[str, str] = {}
    for option in options:
        name = option.partition("=")[0]
        if option.startswith("--param="):
            name = option.rpartition("=")[0]
        elif name.startswith("-mno-"):
            name = "-m" + name[5:]
        last.pop(name, None)
        last[name] = option
    return [[option for option in last.values() if option.startswith(prefix)] for prefix in ("-m", "--param=")]
