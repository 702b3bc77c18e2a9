"""Whether a build goes on."""

from __future__ import annotations

from manycc.schedule.pressure import Pressure


def test_while_as_many_are_asked_for_as_are_done_it_goes_on() -> None:
    pressure = Pressure()
    assert pressure.lasted(5.0) == 0.0
    for _ in range(20):
        pressure.more(5.0)
    for second in range(6, 100):
        pressure.less(second)
        pressure.less(second)
        pressure.more(second + 0.1)
        pressure.more(second + 0.1)
    assert (pressure.out, pressure.lasted(105.0)) == (20, 100.0)


def test_once_fewer_are_asked_for_it_begins_anew() -> None:
    pressure = Pressure()
    for _ in range(20):
        pressure.more(0.0)
    for second in range(100, 110):
        pressure.less(second)
    assert pressure.lasted(110.0) <= 6.0
    for second in range(110, 150):
        pressure.less(second)
        pressure.more(second)
    assert 40.0 <= pressure.lasted(150.0) <= 46.0, "a link, and then fewer at once than before"


def test_more_at_once_is_no_new_beginning() -> None:
    pressure = Pressure()
    for second in range(20):
        pressure.more(second)
    assert pressure.lasted(20.0) >= 18.0


def test_a_new_build_begins_when_nothing_was_out() -> None:
    pressure = Pressure()
    for _ in range(8):
        pressure.more(0.0)
    for _ in range(8):
        pressure.less(50.0)
    for _ in range(8):
        pressure.more(1000.0)
    assert pressure.lasted(1001.0) <= 1.0
