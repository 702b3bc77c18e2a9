"""What counts as a difference, and what a compiler that varies proves."""

from __future__ import annotations

from manycc.verify.compare import Observed, differing, judge, proves_nothing
from manycc.verify.explain import explained


def seen(code: int = 0, stderr: bytes = b"", **files: bytes) -> Observed:
    return Observed(code, b"", stderr, {f"/w/{name}": (0o644, data) for name, data in files.items()})


def test_everything_is_compared() -> None:
    here = Observed(0, b"a", b"b", {"/w/x": (0o644, b"x"), "/w/mode": (0o644, b""), "/w/mine": (0o644, b"")})
    there = Observed(1, b"A", b"B", {"/w/x": (0o644, b"y"), "/w/mode": (0o755, b""), "/w/theirs": (0o644, b"")})
    found = differing(here, there)
    assert found == ["exit code", "stdout", "stderr", "/w/mine", "/w/mode", "/w/theirs", "/w/x"]
    lines = {difference.what: difference.lines for difference in explained(here, there, found)}
    assert lines["exit code"] == ["0 here, 1 there"]
    assert lines["/w/mine"] == ["the node did not return it"]
    assert lines["/w/theirs"] == ["only the node wrote it"]
    assert lines["/w/mode"] == ["permissions 644 here, 755 there"]
    assert lines["stderr"] == ["--- here", "+++ there", "@@ -1 +1 @@", "-b", "+B"]
    assert differing(here, here) == []


def test_what_is_the_same_twice_here_is_proof() -> None:
    judged = judge(seen(o=b"right", d=b"x"), seen(o=b"right", d=b"x"), seen(o=b"wrong", d=b"x"))
    assert judged == (["/w/o"], [], [])


def test_a_stamp_that_varies_does_not_hide_another_difference() -> None:
    stamp = [b"head" + bytes([number]) * 4 + b"tail" for number in range(3)]
    assert judge(*(seen(o=data) for data in stamp)) == ([], ["/w/o"], [])
    wrong = stamp[2].replace(b"tail", b"tall")
    judged = judge(seen(o=stamp[0]), seen(o=stamp[1]), seen(o=wrong))
    assert judged == ([], ["/w/o"], ["/w/o"])
    assert proves_nothing(judged, ["/w/o"], seen(o=wrong))


def test_a_stamp_counts_in_whole_words() -> None:
    # Of a time in milliseconds, only the low bytes differ within a second.
    here, again, there = (
        b"head" + stamp + b"x" for stamp in (b"\x01\x07\x07\x07", b"\x02\x07\x07\x07", b"\xf0\x06\x07\x07")
    )
    assert judge(seen(o=here), seen(o=again), seen(o=there)) == ([], ["/w/o"], [])


def test_what_varies_in_length_is_not_proven() -> None:
    judged = judge(seen(o=b"a", json=b"1"), seen(o=b"a", json=b"12"), seen(o=b"a", json=b"123"))
    assert judged == ([], ["/w/json"], ["/w/json"])
    assert not proves_nothing(judged, ["/w/o"], seen(o=b"a", json=b"123"))


def test_an_error_text_that_varies_proves_nothing() -> None:
    judged = judge(seen(1, b"/tmp/cc1.s"), seen(1, b"/tmp/cc2.s"), seen(1, b"/tmp/cc3.s"))
    assert judged == ([], ["stderr"], ["stderr"])
    assert proves_nothing(judged, ["/w/o"], seen(1, b"/tmp/cc3.s"))
