"""What a compiler says of itself: short texts by name, for a person to read and for a peer to compare.

Two compilers of one version make different objects when they were configured differently. Whether they do is for
canaries to prove; the facts say why, in words, and which options remove the difference. Every fact comes
from the compiler: its predefined macros, the words its driver hands to cc1, ``-Q --help``, the assembly it writes.
Three or four short runs beyond those that tell its parts, side by side, and remembered with its identity.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from manycc.command.drivers import ZIG, is_zig
from manycc.job import Toolchain
from manycc.toolchain import machines, probe
from manycc.toolchain.parts import Driver, Parts

MAX_FACTS: Final = 32
MAX_FACT: Final = 200
"""Characters of a name or a value; what is longer is cut."""

INTEGRATED: Final = "integrated"
"""The ``binutils`` of a compiler that assembles by itself."""

_define: Final = re.compile(r"#define (\w+)(?: (.*))?")
_ident: Final = re.compile(r'^\s*\.ident\s+"(.*)"\s*$', re.MULTILINE)
_option: Final = re.compile(r"^  (-[\w-]+=?)(?:<[^>]*>)?[ \t]+(\S*)$", re.MULTILINE)
_version: Final = re.compile(r"(\d+(?:\.\d+)+)\S*\s*$")
_target: Final = re.compile(r"^Target: (\S+)$", re.MULTILINE)
_value: Final = re.compile(r"[A-Za-z0-9_.+,-]+")
_machine_word: Final = re.compile(r"-m(?!llvm)[a-z0-9-]+(?:=[A-Za-z0-9_.+,-]+)?")
_flag: Final = re.compile(r"-f[a-z][a-z0-9-]*")

_GCC_MACHINE: Final = {
    "arch": "-march=", "cpu": "-mcpu=", "tune": "-mtune=", "fpu": "-mfpu=", "float-abi": "-mfloat-abi=",
    "abi": "-mabi=", "tls": "-mtls-dialect=",
}  # fmt: skip
_CLANG_MACHINE: Final = {"cpu": "-target-cpu", "tune": "-tune-cpu", "float-abi": "-mfloat-abi", "abi": "-target-abi"}
_TOLD_ALREADY: Final = (
    "-fPI", "-fpi", "-fno-PI", "-fno-pi", "-fstack-protector", "-fno-stack-protector", "-fstack-clash",
    "-fno-stack-clash", "-fcf-protection", "-fno-cf-protection",
)  # fmt: skip
"""Beginnings of the options about which there are facts besides ``adds``."""
_SAYS_NOTHING: Final = frozenset(("", "[default]", "[enabled]", "[disabled]", "auto", "default", "none"))

_words: Final = {
    "triple": "the target", "float-abi": "the float ABI", "arch": "the default -march", "cpu": "the default -mcpu",
    "fpu": "the default -mfpu", "mode": "the default instruction set", "abi": "the default -mabi",
    "tls": "the default -mtls-dialect", "tune": "the default -mtune", "features": "the processor's default features",
    "pie": "default PIE", "ssp": "the default stack protector", "cf-protection": "default -fcf-protection",
    "branch-protection": "-mbranch-protection", "stack-clash": "default -fstack-clash-protection",
    "fortify": "default _FORTIFY_SOURCE", "adds": "what the driver adds", "binutils": "binutils",
}  # fmt: skip
"""The facts of which both values are shown, the weightiest first, as a person calls them."""


async def find(driver: Driver, parts: Parts, env: Mapping[str, str]) -> dict[str, str]:
    """The facts of an examined compiler. Raises CompilerError."""
    if is_zig(driver.path):  # which makes code for any target, and nothing stands in for it
        return {"family": ZIG, "version": driver.package}
    return await _ask(
        driver.path, driver.kind, driver.version, (), parts.programs.get("as", ""), "cc1plus" in parts.programs, env,
        driver.said, parts.macros,
    )  # fmt: skip


async def under(toolchain: Toolchain, options: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """The facts of a compiler under options that choose another machine (``--target=``, ``-m32``).

    Empty if it does not know these options. Raises CompilerError if it cannot be run.
    """
    environment = probe.environment(env)
    ends = (["-v", "-###", "-c", "-x", "c", "/dev/null"], ["-O2", "-nostdinc", "-dM", "-E", "-x", "c", "/dev/null"])
    commands = [[toolchain.driver, *options, *end] for end in ends]
    said, macros = await probe.run_all(commands, environment)
    if said.code or macros.code:
        return {}
    assembler = next((file.path for file in toolchain.files if file.digest == toolchain.components.get("as")), "")
    return await _ask(
        toolchain.driver, toolchain.kind, toolchain.version, options, assembler,
        "cc1plus" in toolchain.components, environment, said.stderr, macros.stdout,
    )  # fmt: skip


async def target_under(toolchain: Toolchain, options: Sequence[str], env: Mapping[str, str]) -> str:
    """The triple that clang gives to its parts under some options. Raises CompilerError if it cannot be run."""
    said = await probe.run([toolchain.driver, *options, "-###", "-c", "-x", "c", "/dev/null"], env)
    return _following(_cc1_words(said.stderr), "-triple")


async def _ask(
    path: str,
    kind: str,
    version: str,
    options: Sequence[str],
    assembler: str,
    cplusplus: bool,
    env: Mapping[str, str],
    said: str,
    macros: str,
) -> dict[str, str]:
    gcc = kind == "gcc"
    questions = {"assembly": [path, *options, "-S", "-x", "c", "/dev/null", "-o", "-"]}
    if cplusplus or not gcc:
        questions["c++"] = [path, *options, "-O2", "-nostdinc", "-dM", "-E", "-x", "c++", "/dev/null"]
    if gcc:
        questions["help"] = [path, *options, "-Q", "--help=target", "--help=common"]
        if assembler:
            questions["as"] = [assembler, "--version"]
    answers = dict(zip(questions, await probe.run_all(list(questions.values()), env), strict=True))
    texts = {name: answer.stdout for name, answer in answers.items() if answer.code == 0}
    defined = read_macros(macros)
    target = _target.search(said)
    ident = _ident.search(texts.get("assembly", ""))
    release = _version.search(texts.get("as", "").partition("\n")[0])
    found = {
        "family": kind,
        "version": version,
        "ident": ident[1] if ident else "",
        "triple": machines.triple_of(target[1] if target else "", defined),
        "binutils": (release[1] if release else "") if gcc else INTEGRATED,
        **_by_macros(defined),
        **(_of_gcc(said, texts.get("help", "")) if gcc else _of_clang(said)),
        "macros-c": _hash_of(macros),
    }
    if "c++" in texts:
        found["macros-c++"] = _hash_of(texts["c++"])
    level = machines.arm_level(defined)
    if level and not found.get("arch"):
        found["arch"] = level
    return {name: printable(value) for name, value in found.items() if value}


def read_macros(text: str) -> dict[str, str]:
    """The macros of a ``-dM -E`` output, values by name."""
    return {found[1]: found[2] or "" for line in text.splitlines() if (found := _define.fullmatch(line))}


def _by_macros(macros: Mapping[str, str]) -> dict[str, str]:
    """What macros tell of the code that is made, for gcc and clang alike."""
    position = next((name for name in ("__PIE__", "__PIC__") if name in macros), "")
    letters = position.strip("_")
    protector = next((end for name, end in _PROTECTORS.items() if name in macros), "no")
    facts = {
        "pie": (letters if macros.get(position) == "2" else letters.lower()) or "no",
        "ssp": protector,
        "fortify": macros.get("_FORTIFY_SOURCE", "no"),
    }
    if "__x86_64__" in macros or "__i386__" in macros:
        facts["cf-protection"] = {"1": "branch", "2": "return", "3": "full"}.get(macros.get("__CET__", ""), "none")
    if "__aarch64__" in macros:
        facts["branch-protection"] = _branch_protection(macros)
    if "__arm__" in macros:
        facts["mode"] = "thumb" if "__thumb__" in macros else "arm"
        facts["float-abi"] = "hard" if "__ARM_PCS_VFP" in macros else "softfp" if "__ARM_FP" in macros else "soft"
    return facts


_PROTECTORS: Final = {
    "__SSP_STRONG__": "strong", "__SSP_ALL__": "all", "__SSP_EXPLICIT__": "explicit", "__SSP__": "default",
}  # fmt: skip


def _branch_protection(macros: Mapping[str, str]) -> str:
    signed = macros.get("__ARM_FEATURE_PAC_DEFAULT", "0")
    bits = int(signed, 0) if re.fullmatch(r"0x[0-9a-f]{1,4}|\d{1,4}", signed) else 0
    kinds = []
    if macros.get("__ARM_FEATURE_BTI_DEFAULT", "0") != "0":
        kinds.append("bti")
    if bits & 3:
        kinds.append("pac-ret")
    if bits & 4:
        kinds.append("leaf")
    if bits & 2:
        kinds.append("b-key")
    if macros.get("__ARM_FEATURE_GCS_DEFAULT", "0") != "0":
        kinds.append("gcs")
    return "+".join(kinds) or "none"


def _of_gcc(said: str, helped: str) -> dict[str, str]:
    """What gcc's driver hands to cc1 by itself, and what ``-Q --help`` says is in effect."""
    words = _cc1_words(said)
    in_effect: dict[str, str] = dict(_option.findall(helped))
    facts: dict[str, str] = {}
    for name, option in _GCC_MACHINE.items():
        handed = [word[len(option) :] for word in words if word.startswith(option)]
        value = handed[-1] if handed else in_effect.get(option, "")
        if value not in _SAYS_NOTHING:
            facts[name] = value
    if in_effect.get("-fstack-clash-protection") in ("[enabled]", "[disabled]"):
        facts["stack-clash"] = "yes" if in_effect["-fstack-clash-protection"] == "[enabled]" else "no"
    added = (word for word in words if word.startswith("-f") and not word.startswith(_TOLD_ALREADY))
    facts["adds"] = " ".join(filter(_flag.fullmatch, added))
    chosen = (word for word in words if not word.startswith("-mlibarch="))  # gcc's own conclusion from the others
    facts["machine"] = " ".join(filter(_machine_word.fullmatch, chosen))
    return facts


def _of_clang(said: str) -> dict[str, str]:
    words = _cc1_words(said)
    facts: dict[str, str] = {}
    for name, option in _CLANG_MACHINE.items():
        facts[name] = _following(words, option)
    features = [following for word, following in itertools.pairwise(words) if word == "-target-feature"]
    facts["features"] = " ".join(features)
    if len(facts["features"]) > MAX_FACT:
        facts["features"] = _hash_of("\n".join(features))
    facts["stack-clash"] = "yes" if "-fstack-clash-protection" in words else "no"
    return facts


def _following(words: Sequence[str], option: str) -> str:
    """What follows an option; "" if it is not there."""
    return next((following for word, following in itertools.pairwise(words) if word == option), "")


def _cc1_words(said: str) -> list[str]:
    """The words of the first compiler command among those that ``-###`` shows."""
    for line in said.splitlines():
        if line.startswith(" ") and ("cc1" in line):
            try:
                words = shlex.split(line)
            except ValueError:
                continue
            if words and (words[0].rpartition("/")[2] == "cc1" or "-cc1" in words[1:2]):
                return words[1:]
    return []


def difference(mine: Mapping[str, str], theirs: Mapping[str, str], *, cplusplus: bool = True) -> str:
    """The first difference between the compiler here and the one there, in a sentence; "" if there is none.

    The weightiest comes first: what makes it another compiler, then what another default makes different, the package
    last. ``theirs`` may hold anything. ``cplusplus``: whether C++ matters.
    """
    family = [f"{facts.get('family', 'compiler')} {facts.get('version', '')}".strip() for facts in (mine, theirs)]
    if family[0] != family[1]:
        return f"{printable(family[0])} here, {printable(family[1])} there"
    for name, words in _words.items():
        here, there = (printable(facts.get(name, "")) for facts in (mine, theirs))
        if here == there:
            continue
        values = f"{here or 'nothing'} here, {there or 'nothing'} there"
        if name in _SPEAKS_FOR_ITSELF and here and there:
            return values
        return f"binutils {values}" if name == "binutils" else f"{words} differs: {values}"
    if cplusplus and ("macros-c++" in mine) != ("macros-c++" in theirs):
        return f"no C++ {'there' if 'macros-c++' in mine else 'here'}"
    for name, language in (("macros-c", "C"), ("macros-c++", "C++")):
        if mine.get(name) != theirs.get(name) and (cplusplus or name == "macros-c"):
            return f"what it predefines for {language} differs"
    here, there = (printable(facts.get("ident", "")) for facts in (mine, theirs))
    return "" if here == there else f"another package: {here or 'nothing'} here, {there or 'nothing'} there"


_SPEAKS_FOR_ITSELF: Final = frozenset(("triple", "arch", "cpu"))


def explicit(mine: Mapping[str, str], theirs: Mapping[str, str] | None = None, argv: Collection[str] = ()) -> list[str]:
    """The options under which an equivalent compiler has the defaults of the one here, for the command ``argv``.

    They go behind the command's own, where a driver puts its defaults: what the command chooses itself is left out, by
    the rules of the drivers, and in debug information the options that choose the machine stand as they do here.
    With ``theirs`` only for the defaults that differ.
    """

    def chosen(*beginnings: str) -> bool:
        return any(argument.startswith(beginnings) for argument in argv)

    def wanted(name: str) -> str:
        value = mine.get(name, "")
        return value if theirs is None or value != theirs.get(name, "") else ""

    gcc = mine.get("family") != "clang"
    options = _machine_of_gcc(mine, theirs, argv) if gcc else _machine_of_clang(mine, wanted, chosen)
    for name, option, unless in _PROTECTIONS:
        value = wanted(name)
        if value and _value.fullmatch(value) and not chosen(*unless):
            options.append(option + value)
    pie = wanted("pie")
    if pie in ("PIE", "pie", "PIC", "pic", "no") and not chosen("-fpi", "-fPI", "-fno-pi", "-fno-PI", "-mno-pic"):
        options.append("-fno-pie" if pie == "no" else f"-f{pie}")
    if (ssp := wanted("ssp")) in _SSP_OPTIONS and not chosen("-fstack-protector", "-fno-stack-protector"):
        options.append(_SSP_OPTIONS[ssp])
    if (clash := wanted("stack-clash")) in ("yes", "no") and not chosen("-fstack-clash", "-fno-stack-clash"):
        options.append("-fstack-clash-protection" if clash == "yes" else "-fno-stack-clash-protection")
    options += _fortify(wanted("fortify"), argv)
    options += _added(mine, theirs, argv) if gcc else []
    return options


_X86: Final = ("x86_64-", "i686-")
_OVERRULED: Final = {
    "-march=": ("-march=", "-mcpu="),
    "-mcpu=": ("-march=", "-mcpu="),
    "-mtune=": ("-mtune=", "-mcpu="),
    "-mfloat-abi=": ("-mfloat-abi=", "-msoft-float", "-mhard-float"),
    "-mabi=": ("-mabi=", "-m32", "-m64", "-mx32", "-m31"),
    "-marm": ("-marm", "-mthumb", "-mno-thumb"),
    "-mthumb": ("-marm", "-mthumb", "-mno-thumb"),
    "-mlittle-endian": ("-mlittle-endian", "-mbig-endian"),
    "-mbig-endian": ("-mlittle-endian", "-mbig-endian"),
}
"""What in a command overrules an option that chooses the machine; what is not named here, the option itself."""
_PROTECTIONS: Final = (
    ("branch-protection", "-mbranch-protection=", ("-mbranch-protection=", "-msign-return-address=")),
    ("cf-protection", "-fcf-protection=", ("-fcf-protection", "-fno-cf-protection")),
)


def _machine_of_gcc(mine: Mapping[str, str], theirs: Mapping[str, str] | None, argv: Collection[str]) -> list[str]:
    """The words for cc1 that choose the machine, in the order in which gcc's driver gives them here."""
    words = [word for word in mine.get("machine", "").split() if _machine_word.fullmatch(word)]
    if theirs is not None and all(mine.get(name, "") == theirs.get(name, "") for name in ("machine", *_GCC_MACHINE)):
        words = []
    for name, option in _GCC_MACHINE.items():  # what holds without having been said
        value = mine.get(name, "")
        differs = theirs is None or value != theirs.get(name, "")
        if differs and value and _value.fullmatch(value) and f"{option}{value}" not in words:
            words.append(f"{option}{value}")
    if theirs and theirs.get("fpu") and not mine.get("fpu"):
        words.append("-mfpu=auto")
    kept = []
    for word in words:
        option = word.partition("=")[0] + "=" * ("=" in word)
        unless = _OVERRULED.get(option, (option,))
        if option == "-mtune=" and mine.get("triple", "").startswith(_X86):
            unless += ("-march=",)
        if not any(argument.startswith(unless) for argument in argv):
            kept.append(word)
    return kept


def _machine_of_clang(mine: Mapping[str, str], wanted: Callable[[str], str], chosen: Callable[..., bool]) -> list[str]:
    cpu = "-march=" if mine.get("triple", "").startswith(_X86) else "-mcpu="
    options = []
    for name, option, unless in (
        ("cpu", cpu, ("-march=", "-mcpu=")),
        ("tune", "-mtune=", ("-march=", "-mcpu=", "-mtune=")),
        ("float-abi", "-mfloat-abi=", ("-mfloat-abi=", "-msoft-float", "-mhard-float")),
    ):
        value = wanted(name)
        if value and _value.fullmatch(value) and not chosen(*unless) and (name, value) != ("tune", "generic"):
            options.append(option + value)
    if (mode := wanted("mode")) in ("arm", "thumb") and not chosen("-marm", "-mthumb", "-mno-thumb"):
        options.append(f"-m{mode}")
    return options


_SSP_OPTIONS: Final = {
    "strong": "-fstack-protector-strong", "all": "-fstack-protector-all", "explicit": "-fstack-protector-explicit",
    "default": "-fstack-protector", "no": "-fno-stack-protector",
}  # fmt: skip


def _fortify(value: str, argv: Collection[str]) -> list[str]:
    """_FORTIFY_SOURCE as a compiler that predefines it has it: where the command optimises, and does not say itself."""
    levels = [argument for argument in argv if argument.startswith("-O")]
    if not value or any("_FORTIFY_SOURCE" in argument for argument in argv) or levels[-1:] in ([], ["-O0"]):
        return []
    return ["-U_FORTIFY_SOURCE"] if value == "no" else [f"-D_FORTIFY_SOURCE={value}"] if value in "123" else []


def _added(mine: Mapping[str, str], theirs: Mapping[str, str] | None, argv: Collection[str]) -> list[str]:
    """What only one of the two drivers adds by itself: added, or taken back."""
    here, there = (
        [word for word in (facts or {}).get("adds", "").split() if _flag.fullmatch(word)] for facts in (mine, theirs)
    )
    options = [word for word in here if word not in there]
    options += [f"-fno-{word[2:]}" for word in there if word not in here]
    opposite = {f"-fno-{word[2:]}": word for word in argv if word.startswith("-f")}
    return [word for word in options if word not in argv and word not in opposite and f"-fno-{word[2:]}" not in argv]


def printable(text: str) -> str:
    """A text as a fact: one line of printable characters, not too long."""
    cut = text if len(text) <= MAX_FACT else text[: MAX_FACT - 1] + "…"
    return "".join(char if char.isprintable() else "?" for char in cut)


def from_peer(values: object) -> dict[str, str]:
    """The facts out of a message. Raises ValueError if they are not of the kind that ``find`` gives."""
    if not isinstance(values, dict) or len(values) > MAX_FACTS:
        raise ValueError("facts are a map of few")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str) or not name:
            raise ValueError("facts are texts by name")
        if name != printable(name) or value != printable(value):
            raise ValueError("facts are short and printable")
    return dict(values)


def _hash_of(text: str) -> str:
    lines = "\n".join(sorted(text.splitlines()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:32]
