"""Check many trees, in several processes at once, each with a cluster of its own.

    python tests/fuzz/fuzz_hunt.py [--trees N] [--processes N] [--seed N] [--no-cluster]

Stops at the first tree that manycc does wrong by, makes it as small as it gets, and prints it so that it can be
pasted as a fixed case. Without --seed, other trees are made each time.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from fuzz_check import Checker, CollectorMaker, Mismatch, Tally
from fuzz_strategy import trees
from fuzz_tree import Tree
from hypothesis import HealthCheck, Phase, given, seed, settings

from manycc.inputs.collect import Collector
from manycc.testing.cluster import Cluster

CHUNK = 10
"""Trees that hypothesis makes out of one seed. After ten it begins to vary what it has made, which here finds
nothing new and costs as much."""
PORTION = 500
"""Trees between two lines about how far a process is."""


@contextlib.contextmanager
def checker(folder: str, with_cluster: bool = True, make: CollectorMaker = Collector) -> Iterator[Checker]:
    """A checker below a folder, with a cluster of one node."""
    if not with_cluster:
        made = Checker(os.path.join(folder, "work"), None, make)
        try:
            yield made
        finally:
            made.close()
        return
    with Cluster(os.path.join(folder, "cluster"), nodes=1, jobs=4) as cluster:
        made = Checker(os.path.join(folder, "work"), cluster, make)
        try:
            yield made
        finally:
            made.close()


def check_trees(checker: Checker, count: int, number: int, shrink: bool = True) -> None:
    """Check trees made out of seeds from ``number`` on until ``count`` more have been checked.

    Raises Mismatch with the smallest one that fails.
    """
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    end = checker.tally.trees + count
    while checker.tally.trees < end:
        _check_chunk(checker, number, phases)
        number += 1


def _check_chunk(checker: Checker, number: int, phases: tuple[Phase, ...]) -> None:
    @seed(number)
    @settings(
        max_examples=CHUNK, phases=phases, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False, print_blob=False,
    )  # fmt: skip
    @given(trees())
    def check(tree: Tree) -> None:
        checker.check(tree)

    check()


def _work(count: int, number: int, with_cluster: bool, loud: bool) -> tuple[Tally, str]:
    """One process's share: what was seen, and what went wrong. ``loud``: it says how far it is."""
    with tempfile.TemporaryDirectory(prefix="manycc-fuzz-") as folder, checker(folder, with_cluster) as made:
        try:
            for done in range(0, count, PORTION):
                check_trees(made, min(PORTION, count - done), number + done)
                if loud:
                    print(f"seed {number}: {made.tally.trees} trees", flush=True)
        except Mismatch as error:
            return made.tally, f"seed {number}: {error}"
    return made.tally, ""


def hunt(count: int, processes: int, number: int, with_cluster: bool = True, loud: bool = False) -> tuple[Tally, str]:
    """Check trees in several processes: what was seen, and what went wrong in the first that failed."""
    total, failure = Tally(), ""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        share = -(-count // processes)
        for done in as_completed(
            [pool.submit(_work, share, number + 1_000_000 * index, with_cluster, loud) for index in range(processes)]
        ):
            tally, wrong = done.result()
            total.add(tally)
            failure = failure or wrong
    return total, failure


def main() -> int:
    """Hunt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--no-cluster", action="store_true", help="ask the collector only")
    options = parser.parse_args()
    number = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    print(f"seed {number}", flush=True)
    begun = time.monotonic()
    tally, failure = hunt(options.trees, options.processes, number, not options.no_cluster, loud=True)
    print("\n".join(tally.lines()))
    print(f"{tally.trees / (time.monotonic() - begun):.1f} trees a second")
    if failure:
        print(failure)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
