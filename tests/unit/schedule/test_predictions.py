"""What is known of sources: learned, guessed, bounded, kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from played_hosts import job_of, outcome, teach

from manycc.reasons import Reason
from manycc.schedule import predict
from manycc.schedule.learned import MAGIC, Learned
from manycc.schedule.predict import FIRST_GUESS_S, Predictions


def test_nothing_is_known_at_first() -> None:
    expected = Predictions().expect(job_of("a"))
    assert (expected.seconds, expected.rss, expected.place, expected.known) == (FIRST_GUESS_S, 0, "", -1)


def test_a_source_costs_what_it_did() -> None:
    learned = Learned()
    teach(learned, job_of("a"), 3.0, rss=100 << 20, host="x")
    expected = learned.expect(job_of("a"))
    assert expected.seconds == pytest.approx(3.0)
    assert (expected.rss, expected.place, expected.known) == (100 << 20, "x", 3)


def test_one_disturbed_run_changes_little_and_a_lasting_change_is_learned() -> None:
    learned = Learned()
    teach(learned, job_of("a"), 1.0, times=5)
    teach(learned, job_of("a"), 30.0, times=1)
    assert learned.expect(job_of("a")).seconds < 1.5
    teach(learned, job_of("a"), 30.0, times=20)
    assert learned.expect(job_of("a")).seconds > 20


def test_memory_is_learned_upwards_at_once_and_downwards_slowly() -> None:
    learned = Learned()
    for rss in (100, 400, 100):
        teach(learned, job_of("a"), 1.0, rss=rss << 20, times=1)
    assert 300 << 20 < learned.expect(job_of("a")).rss < 400 << 20
    before = learned.expect(job_of("a")).rss
    learned.predictions.doubt_memory(job_of("a"))
    assert learned.expect(job_of("a")).rss == int(before * 0.9)


def test_a_new_source_is_guessed_from_what_it_reads() -> None:
    learned = Learned()
    for number in range(20):
        teach(learned, job_of(f"s{number}", size=1000), 0.5, rss=50 << 20, times=1)
    teach(learned, job_of("odd", size=1000), 500.0, times=1)
    expected = learned.expect(job_of("new", size=4000))
    assert 1.5 < expected.seconds < 3.5
    assert expected.rss > 30 << 20
    assert (expected.known, expected.place) == (0, "")


def test_another_level_is_another_cost_but_a_guess() -> None:
    learned = Learned()
    teach(learned, job_of("a", level="-O0"), 0.25)
    assert learned.expect(job_of("a", level="-O3")).seconds == pytest.approx(0.25)
    teach(learned, job_of("a", level="-O3"), 2.0)
    assert learned.expect(job_of("a", level="-O0")).seconds == pytest.approx(0.25)
    assert learned.expect(job_of("a", level="-O3")).seconds == pytest.approx(2.0)
    assert learned.expect(job_of("a", level="")).known == 0


def test_sources_are_bounded_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "MAX_SOURCES", 40)
    learned = Learned()
    for number in range(100):
        teach(learned, job_of("kept"), 1.0, times=1)
        teach(learned, job_of(f"s{number}"), 1.0, times=1)
        assert len(learned.predictions) <= 41
    assert learned.expect(job_of("kept")).known > 0
    assert learned.expect(job_of("s99")).known > 0
    assert learned.expect(job_of("s0")).known == 0


def test_a_cached_answer_tells_where_it_was_and_nothing_of_time() -> None:
    learned = Learned()
    teach(learned, job_of("a"), 1.0, host="x")
    job = job_of("a")
    answer = outcome("y", 50.0)
    answer.reason = Reason.CACHED
    learned.done("y", job, learned.expect(job), answer, 60.0, 1.0)
    expected = learned.expect(job)
    assert (expected.place, expected.seconds) == ("y", pytest.approx(1.0))


def test_a_host_is_not_believed_more_than_the_clock_here() -> None:
    learned = Learned()
    job = job_of("a")
    learned.done("liar", job, learned.expect(job), outcome("liar", 1e8, rss=1 << 59), 0.5, 1.0)
    expected = learned.expect(job)
    assert expected.seconds <= 0.5
    assert expected.rss <= 1 << 40
    learned.save()
    assert learned.predictions.dump()


def test_kept_from_run_to_run(tmp_path: Path) -> None:
    path = str(tmp_path / "state/learned")
    learned = Learned(path)
    for number in range(50):
        job = job_of(f"s{number}")
        answer = outcome("x" if number % 2 else "y", 2.0 if number % 2 else 1.0, rss=64 << 20)
        for time in range(3):
            learned.done(answer.host, job, learned.expect(job), answer, 2.5, float(time))
    learned.save()
    again = Learned(path)
    for number in range(50):
        old, new = learned.expect(job_of(f"s{number}")), again.expect(job_of(f"s{number}"))
        assert new.seconds == pytest.approx(old.seconds, rel=1e-5)
        assert (new.rss, new.place, new.known) == (old.rss, old.place, old.known)
    assert again.expect(job_of("new")).seconds == pytest.approx(learned.expect(job_of("new")).seconds)
    for host in "xy":
        assert again.speed(host).factor == pytest.approx(learned.speed(host).factor, rel=0.05)
        assert again.speed(host).overhead(1000) == pytest.approx(learned.speed(host).overhead(1000))
    before = os.stat(path).st_ino
    again.save()
    assert os.stat(path).st_ino == before, "nothing had changed"


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", MAGIC, MAGIC + b"1234" + b"\x80", b"manycc learned 0\nabcdefg", MAGIC + bytes(100)],
)
def test_a_damaged_file_is_begun_anew(tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "learned"
    path.write_bytes(data)
    learned = Learned(str(path))
    assert "begun anew" in caplog.text
    teach(learned, job_of("a"), 1.0)
    learned.done("x", job_of("a"), learned.expect(job_of("a")), outcome("x", 1.0), 1.0, 1.0)
    learned.save()
    assert Learned(str(path)).expect(job_of("a")).known > 0


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "learned"
    learned = Learned(str(path))
    learned.done("x", job_of("a"), learned.expect(job_of("a")), outcome("x", 1.0), 1.0, 1.0)
    learned.save()
    whole = path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 4]) + whole[index + 1 :])
        assert Learned(str(path)).expect(job_of("a")).known == -1


def test_a_disk_that_refuses_costs_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    learned = Learned(str(tmp_path / "file/learned"))
    learned.done("x", job_of("a"), learned.expect(job_of("a")), outcome("x", 1.0), 1.0, 1.0)
    learned.save()
    assert "cannot be" in caplog.text
