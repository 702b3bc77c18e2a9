"""Who is not trusted any more: kept over restarts, lifted by a person or with the toolchain."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from verify_support import GCC

from manycc.job import ToolFile
from manycc.verify.quarantine import Quarantine, entry_for


def digest_of(path: str) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()


def opened(folder: Path) -> Quarantine:
    return Quarantine(str(folder / "quarantine.json"), digest_of)


def test_a_pair_is_barred_and_stays_so(tmp_path: Path) -> None:
    quarantine = opened(tmp_path)
    told: list[int] = []
    quarantine.on_change.append(lambda: told.append(1))
    assert quarantine.sentence("pi", GCC) == ""
    quarantine.add(entry_for("pi", GCC, 5.0, "a.o", ""))
    quarantine.name_report("pi", GCC, "/reports/1")
    assert len(told) == 2
    for one in (quarantine, opened(tmp_path)):
        assert "QUARANTINED for gcc 12" in one.sentence("pi", GCC)
        assert "/reports/1" in one.sentence("pi:3632", GCC)  # however it is spelled
        assert one.sentence("pi:3633", GCC) == one.sentence("laptop", GCC) == ""
        assert one.sentence("pi", dataclasses.replace(GCC, fingerprint="e" * 64)) == ""
        (entry,) = one.entries()
        assert (entry.host, entry.last_good, entry.difference) == ("pi", 5.0, "a.o")


def test_the_first_evidence_is_kept(tmp_path: Path) -> None:
    quarantine = opened(tmp_path)
    quarantine.add(entry_for("pi", GCC, 0.0, "first.o", "/reports/1"))
    quarantine.add(entry_for("pi", GCC, 0.0, "second.o", "/reports/2"))
    assert [entry.difference for entry in opened(tmp_path).entries()] == ["first.o"]


def test_forgiving_lifts_all_of_a_host(tmp_path: Path) -> None:
    quarantine = opened(tmp_path)
    other = dataclasses.replace(GCC, fingerprint="e" * 64)
    for host, toolchain in (("pi", GCC), ("pi", other), ("laptop", GCC)):
        quarantine.add(entry_for(host, toolchain, 0.0, "a.o", ""))
    assert len(quarantine.forgive("pi")) == 2
    assert quarantine.forgive("pi") == []
    assert [entry.host for entry in opened(tmp_path).entries()] == ["laptop"]


def test_it_ends_with_the_toolchain(tmp_path: Path) -> None:
    compiler = tmp_path / "cc1"
    compiler.write_bytes(b"old")
    toolchain = dataclasses.replace(GCC, files=(ToolFile(str(compiler), digest_of(str(compiler)), 3),))
    quarantine = opened(tmp_path)
    quarantine.add(entry_for("pi", toolchain, 0.0, "a.o", ""))
    assert opened(tmp_path).sentence("pi", toolchain)
    compiler.write_bytes(b"new")
    assert opened(tmp_path).sentence("pi", toolchain) == ""
    assert quarantine.entries() == []
    compiler.unlink()
    assert opened(tmp_path).entries() == []


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"host": "pi"}]', '{"a": 1}'])
def test_a_damaged_file_is_said_and_passed_over(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "quarantine.json").write_text(text)
    quarantine = opened(tmp_path)
    assert quarantine.entries() == []
    assert "cannot be read" in caplog.text
    quarantine.add(entry_for("pi", GCC, 0.0, "a.o", ""))
    assert len(json.loads((tmp_path / "quarantine.json").read_text())) == 1


def test_a_disk_that_is_full_does_not_lift_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    quarantine = Quarantine(str(tmp_path / "missing" / "quarantine.json"), digest_of)
    quarantine.add(entry_for("pi", GCC, 0.0, "a.o", ""))
    assert quarantine.sentence("pi", GCC)
    assert "will be forgotten" in caplog.text
