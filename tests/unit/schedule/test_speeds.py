"""How quick hosts are: learned in spite of noise, without drift, and forgiven."""

from __future__ import annotations

import math
import random

import pytest

from manycc.schedule.speed import Speed, Speeds


def feed(speeds: Speeds, truth: dict[str, float], jobs: int, known: int, noise: float, seed: int = 1) -> None:
    """Have hosts of certain speeds do jobs of certain costs."""
    chance = random.Random(seed)
    for number in range(jobs):
        name = chance.choice(sorted(truth))
        seconds = chance.lognormvariate(0, 1)
        wall = seconds / truth[name] * chance.lognormvariate(0, noise)
        speeds.learn(speeds.of(name), seconds, wall, known, float(number))


@pytest.mark.parametrize(("known", "noise", "jobs"), [(3, 0.15, 200), (0, 0.8, 2000)])
def test_ratios_are_learned(known: int, noise: float, jobs: int) -> None:
    truth = {"slow": 0.25, "usual": 1.0, "quick": 4.0}
    speeds = Speeds()
    feed(speeds, truth, jobs, known, noise)
    for name, factor in truth.items():
        assert speeds.of(name).factor / speeds.of("usual").factor == pytest.approx(factor, rel=0.35)


def test_the_mean_stays_where_it_is() -> None:
    speeds = Speeds()
    feed(speeds, {"a": 3.0, "b": 5.0, "c": 8.0}, 3000, 3, 0.3)
    logs = [math.log(speeds.of(name).factor) for name in "abc"]
    assert abs(sum(logs)) / 3 < 0.05


def test_one_straggler_moves_little() -> None:
    speeds = Speeds()
    feed(speeds, {"a": 1.0, "b": 1.0}, 200, 3, 0.1)
    before = speeds.of("a").factor
    speeds.learn(speeds.of("a"), 1.0, 50.0, 3, 1000.0)
    assert speeds.of("a").factor > before * 0.8


def test_a_lasting_change_is_followed() -> None:
    speeds = Speeds()
    feed(speeds, {"a": 1.0, "b": 1.0}, 200, 3, 0.1)
    feed(speeds, {"a": 0.3, "b": 1.0}, 200, 3, 0.1, seed=2)
    assert speeds.of("a").factor / speeds.of("b").factor == pytest.approx(0.3, rel=0.3)


def test_guesses_weigh_less_than_knowledge_and_ignorance_nothing() -> None:
    moved = {}
    for known in (-1, 0, 3):
        speeds = Speeds()
        speeds.learn(speeds.of("other"), 1.0, 1.0, known, 0.5)
        speeds.learn(speeds.of("a"), 1.0, 4.0, known, 1.0)
        moved[known] = abs(math.log(speeds.of("a").factor))
    assert moved[-1] == 0 < moved[0] < moved[3]


def test_guesses_that_are_wrong_alike_are_no_hosts_fault() -> None:
    """A folder of heavier sources: each host answers a batch that was guessed too low, then what was set right."""
    speeds = Speeds()
    order = [number // 25 for number in range(200)] + [number % 8 for number in range(200)]
    for number, host in enumerate(order):
        speeds.learn(speeds.of(f"host {host}"), 0.2 if number < 200 else 1.0, 1.0, 0, float(number))
        factors = [speeds.of(f"host {number}").factor for number in range(8)]
        assert max(factors) / min(factors) < 1.3


def test_a_slow_host_without_work_is_thought_better_of() -> None:
    speed = Speed()
    speed.factor, speed.seen = 0.5, 100.0
    assert speed.now(110.0) == 0.5
    assert 0.5 < speed.now(300.0) < speed.now(2000.0) <= 1.0
    speed.factor = 2.0
    assert speed.now(5000.0) == 2.0


def test_overhead_is_the_usual_one_not_that_of_uploads() -> None:
    speed = Speed()
    for number in range(200):
        speed.learn_overhead(5.0 if number % 20 == 0 else 0.02, 2000)
    assert speed.overhead(2000) < 0.3
    for _ in range(300):
        speed.learn_overhead(0.02 + 1.0, 1_000_000)
    assert speed.overhead(1_000_000) > 0.5


@pytest.mark.parametrize(
    "bad", [[math.nan, 0.1, 1, 0.0, 0.0], [99.0, 0.1, 1, 0.0, 0.0], [0.0, -1.0, 1, 0.0, 0.0], [1.0]]
)
def test_what_is_no_speed_is_not_loaded(bad: list[float]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Speeds.load({"a": bad})
