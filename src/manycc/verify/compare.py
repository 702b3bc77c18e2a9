"""All that a compile can be seen to have done, and how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from manycc.job import Outcome
from manycc.toolchain import objectdiff


class Observed(NamedTuple):
    """A compile's result: ``files`` maps each path written to its permission bits and content."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    files: Mapping[str, tuple[int, bytes]]


class Difference(NamedTuple):
    """One thing that differs: ``what`` is "exit code", "stdout", "stderr" or a file's path; ``lines`` say how."""

    what: str
    lines: list[str]


def observed(outcome: Outcome) -> Observed:
    """What a node's answer shows."""
    files = {output.path: (output.mode, output.data) for output in outcome.outputs}
    return Observed(outcome.exit_code, outcome.stdout, outcome.stderr, files)


def differing(here: Observed, there: Observed) -> list[str]:
    """The things that differ, as ``Difference.what`` names them."""
    found = [
        name
        for name, one, other in (
            ("exit code", here.exit_code, there.exit_code),
            ("stdout", here.stdout, there.stdout),
            ("stderr", here.stderr, there.stderr),
        )
        if one != other
    ]
    paths = sorted(here.files.keys() | there.files.keys())
    return found + [path for path in paths if here.files.get(path) != there.files.get(path)]


class Judgement(NamedTuple):
    """What is to be thought of two results that differ, after a third: the first compile, made again.

    ``different`` was proven to differ. ``varies`` is different each time here, too; of that, ``unproven`` cannot be
    said to be right.
    """

    different: list[str]
    varies: list[str]
    unproven: list[str]


def judge(here: Observed, again: Observed, there: Observed) -> Judgement:
    """Judge what a node returned (``there``) by two compiles here.

    gcc puts the time into what ``--coverage`` makes, and random names into what ``-flto`` makes. Where two
    compiles here differ in nothing but some words of four bytes, a result that differs from them in
    no other words is right, too.
    """
    found = differing(here, there)
    unsteady = set(differing(here, again))
    varies = [what for what in found if what in unsteady]
    unproven = [what for what in varies if not _varies_alike(here, again, there, what)]
    return Judgement([what for what in found if what not in unsteady], varies, unproven)


def proves_nothing(judged: Judgement, outputs: Sequence[str], there: Observed) -> bool:
    """Whether so much varies that nothing is said about the main output (the first of ``outputs``), or at all."""
    return bool(judged.unproven) and (not there.files or any(path in judged.unproven for path in outputs[:1]))


def _varies_alike(here: Observed, again: Observed, there: Observed, path: str) -> bool:
    mine, mine_again, theirs = (seen.files.get(path) for seen in (here, again, there))
    if mine is None or mine_again is None or theirs is None or not mine[0] == mine_again[0] == theirs[0]:
        return False
    sizes = {len(data) for _, data in (mine, mine_again, theirs)}
    if len(sizes) > 1:
        return False
    return _differing_words(mine[1], theirs[1]) <= _differing_words(mine[1], mine_again[1])


def _differing_words(one: bytes, other: bytes) -> set[int]:
    rest = -len(one) % 4
    words = (memoryview(data + bytes(rest)).cast("I") for data in (one, other))
    return {index for index, (left, right) in enumerate(zip(*words, strict=True)) if left != right}


def lines_of(here: Observed, there: Observed, what: str) -> list[str]:
    """How a thing differs. What comes from a node is looked at by ``explain.explained`` only, which is bounded."""
    if what == "exit code":
        return [f"{here.exit_code} here, {there.exit_code} there"]
    if what in ("stdout", "stderr"):
        one, other = (here.stdout, there.stdout) if what == "stdout" else (here.stderr, there.stderr)
        return objectdiff.describe(one, other)
    mine, theirs = here.files.get(what), there.files.get(what)
    if mine is None or theirs is None:
        return ["only the node wrote it" if mine is None else "the node did not return it"]
    lines = objectdiff.describe(mine[1], theirs[1])
    if mine[0] != theirs[0]:
        lines.insert(0, f"permissions {mine[0]:o} here, {theirs[0]:o} there")
    return lines
