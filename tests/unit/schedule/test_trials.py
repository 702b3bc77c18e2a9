"""Trial compiles: which compiles are some, and where they are done."""

from __future__ import annotations

import pytest

from manycc.command.trial import is_trial
from manycc.schedule.trials import AGAIN, BEGIN, Trials


@pytest.mark.parametrize(
    ("source", "output", "trial"),
    [
        ("/b/conftest.c", "/b/conftest.o", True),
        ("/b/conftest.cpp", "/b/conftest.o", True),
        ("/b/conftest2.c", "/b/conftest2.o", True),
        ("/b/CMakeFiles/3.25.1/CompilerIdC/CMakeCCompilerId.c", "/b/x.o", True),
        ("/b/CMakeFiles/CMakeTmp/src.c", "/b/CMakeFiles/CMakeTmp/CMakeFiles/cmTC_8ed02.dir/src.c.o", True),
        ("/b/meson-private/tmpzo0_9r3x/testfile.c", "/b/meson-private/tmpzo0_9r3x/output.obj", True),
        ("/b/meson-private/sanitycheckcpp.cc", "/b/meson-private/sanitycheckcpp.exe", True),
        ("/b/src.c", "/b/CMakeFiles/app.dir/src.c.o", False),
        ("/b/testfile.c", "/b/testfile.o", False),
        ("/b/conftest/a.c", "/b/conftest/a.o", False),
        ("/b/my_conftest.c", "/b/my_conftest.o", False),
    ],
)
def test_which_compiles_are_trials(source: str, output: str, trial: bool) -> None:
    assert is_trial(source, output) is trial


def choices(trials: Trials, count: int, here_s: float, there_s: float) -> list[bool]:
    """Where so many go, if they take so long."""
    made = []
    for _ in range(count):
        made.append(trials.here())
        trials.took(made[-1], here_s if made[-1] else there_s)
    return made


def test_both_places_are_tried_first() -> None:
    assert sum(choices(Trials(), BEGIN, 0.01, 0.02)) == BEGIN / 2


@pytest.mark.parametrize("here_is_quicker", [True, False])
def test_the_quicker_place_gets_nearly_all(here_is_quicker: bool) -> None:
    trials = Trials()
    times = (0.01, 0.02) if here_is_quicker else (0.02, 0.01)
    choices(trials, BEGIN, *times)
    made = choices(trials, 10 * AGAIN, *times)
    assert made.count(here_is_quicker) == 10 * (AGAIN - 1)


def test_a_place_that_became_quicker_is_found_out() -> None:
    trials = Trials()
    choices(trials, 100, 0.01, 0.02)
    choices(trials, 5 * AGAIN, 0.01, 0.001)
    assert choices(trials, AGAIN, 0.01, 0.001).count(False) == AGAIN - 1


def test_one_slow_beginning_does_not_decide() -> None:
    trials = Trials()
    for seconds in (2.0, 0.001, 0.001):  # the first one waits for a connection
        assert trials.here()
        trials.took(True, 0.01)
        assert not trials.here()
        trials.took(False, seconds)
    assert not trials.here()


def test_where_hosts_never_answer_all_is_done_here() -> None:
    trials = Trials()
    made = []
    for _ in range(100):
        made.append(trials.here())
        if made[-1]:
            trials.took(True, 0.01)
    assert made.count(False) == BEGIN / 2
