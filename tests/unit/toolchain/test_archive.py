"""Archives: what is sound comes out whole, what is not leaves nothing."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import shutil
import socket
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from manycc.errors import ToolchainError
from manycc.testing.requirements import need
from manycc.toolchain import planting
from manycc.toolchain.archive import Bounds, unpack

MEBIBYTE = 1024 * 1024
SMALL = Bounds(entries=500, size=8 * MEBIBYTE, ratio=50, free_ratio=MEBIBYTE)
PRESS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}


def entry(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def packed(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for info, content in entries:
                archive.addfile(info, io.BytesIO(content))
        return buffer.getvalue()


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


class Place:
    """A folder to unpack in, with something beside it that nothing may touch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "place"
        self.folder.mkdir()
        (folder / "secret").write_text("untouched")
        self.above = folder
        self.archive = folder / "archive"

    @property
    def target(self) -> Path:
        return self.folder / "new"

    def unpack(self, data: bytes, bounds: Bounds = SMALL) -> None:
        self.archive.write_bytes(data)
        unpack(str(self.archive), str(self.target), bounds)

    def refused(self, data: bytes, why: str, bounds: Bounds = SMALL) -> ToolchainError:
        with pytest.raises(ToolchainError, match=why) as caught:
            self.unpack(data, bounds)
        self.untouched()
        return caught.value

    def untouched(self) -> None:
        assert os.listdir(self.folder) == []
        assert sorted(os.listdir(self.above)) == ["archive", "place", "secret"]
        assert (self.above / "secret").read_text() == "untouched"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def modes(folder: Path) -> Iterator[tuple[str, str, int, bytes]]:
    """Name, kind, permissions and content of all below a folder."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            yield name, "link", 0, os.fsencode(os.readlink(path))
        elif stat.S_ISDIR(status.st_mode):
            yield name, "folder", stat.S_IMODE(status.st_mode), b""
        else:
            yield name, "file", stat.S_IMODE(status.st_mode), path.read_bytes()


LONG = "/".join(["a" * 90] * 4)


@pytest.mark.parametrize("form", ["ustar", "gnu", "pax", "v7"])
@pytest.mark.parametrize("option", ["", "--gzip", "--bzip2", "--xz", "--zstd"])
def test_what_tar_packs_comes_out(
    place: Place, tmp_path_factory: pytest.TempPathFactory, form: str, option: str
) -> None:
    need("tar", "xz", "bzip2", "zstd")
    tree = tmp_path_factory.mktemp("tree")
    names = ["bin/x-gcc", "lib/empty", os.fsdecode(b"lib/\xff\xfe odd")]
    if form in ("gnu", "pax"):
        names.append(f"{LONG}/cc1")
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"" if name == "lib/empty" else random.Random(repr(name)).randbytes(70_000))
    (tree / "bin/x-gcc").chmod(0o700)
    os.link(tree / "bin/x-gcc", tree / "bin/x-gcc-12")
    os.symlink("../bin/./x-gcc-12", tree / "lib/gcc")
    os.symlink("nowhere", tree / "lib/dangling")
    os.symlink("circle", tree / "lib/circle")
    (tree / "closed").mkdir(mode=0o711)
    words = ["tar", f"--format={form}", *([option] if option else []), "-cf", str(place.archive), "-C", str(tree), "."]
    subprocess.run(words, check=True, timeout=60)
    unpack(str(place.archive), str(place.target))

    def wanted() -> Iterator[tuple[str, str, int, bytes]]:
        for name, kind, mode, content in modes(tree):
            plain = {"folder": 0o755, "file": 0o755 if mode & 0o111 else 0o644, "link": 0}[kind]
            yield name, kind, plain, content

    assert list(modes(place.target)) == list(wanted())
    assert os.path.samefile(place.target / "bin/x-gcc", place.target / "bin/x-gcc-12")


OUTSIDE = {
    "absolute path": [entry("/tmp/manycc-evil", b"x")],
    "absolute folder": [entry("/tmp/manycc-evil", type=tarfile.DIRTYPE)],
    "dots": [entry("../secret", b"x")],
    "dots within": [entry("a/../../secret", b"x")],
    "dots that stay": [entry("a/../b", b"x")],
    "dots in a folder": [entry("a/..", type=tarfile.DIRTYPE)],
    "absolute link": [link("a", "/etc/passwd")],
    "link to above": [link("a", "../secret")],
    "link to above from below": [link("a/b/c", "../../../secret")],
    "link over a link": [link("d/a", "."), link("d/b", "a/../../secret")],
    "link over a later link": [link("d/b", "a/../../secret"), link("d/a", ".")],
    "through a link": [entry("b", type=tarfile.DIRTYPE), link("a", "b"), entry("a/x", b"x")],
    "a folder that is a link": [entry("b", type=tarfile.DIRTYPE), link("a", "b"), entry("a", type=tarfile.DIRTYPE)],
    "through a file": [entry("a", b"x"), entry("a/x", b"x")],
    "a file over a link": [link("a", "b"), entry("a", b"x")],
    "a file twice": [entry("a", b"x"), entry("a", b"y")],
    "a file over a folder": [entry("a/b", b"x"), entry("a", b"y")],
    "the top as a file": [entry(".", b"x")],
    "the top as a link": [link(".", "b")],
    "hard link to above": [entry("a", type=tarfile.LNKTYPE, linkname="../secret")],
    "hard link to a path": [entry("a", type=tarfile.LNKTYPE, linkname="/etc/passwd")],
    "hard link to a link": [link("a", "b"), entry("c", type=tarfile.LNKTYPE, linkname="a")],
    "hard link to a later file": [entry("c", type=tarfile.LNKTYPE, linkname="a"), entry("a", b"x")],
    "hard link to nothing": [entry("c", type=tarfile.LNKTYPE, linkname="nothing")],
    "link to nothing": [link("a", "")],
    "set-user-ID": [entry("a", b"x", mode=0o4755)],
    "set-group-ID": [entry("a", b"x", mode=0o2755)],
    "character device": [entry("a", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "block device": [entry("a", type=tarfile.BLKTYPE, devmajor=8, devminor=0)],
    "FIFO": [entry("a", type=tarfile.FIFOTYPE)],
    "unknown type": [entry("a", type=b"Z")],
    "sparse": [entry("a", type=tarfile.GNUTYPE_SPARSE)],
    "sparse in pax": [entry("GNUSparseFile.0/a", b"x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.name": "a"})],
    "a path in pax": [entry("a", b"x", pax_headers={"path": "../secret"})],
    "a link in pax": [entry("a", type=tarfile.SYMTYPE, linkname="b", pax_headers={"linkpath": "../secret"})],
    "too deep": [entry("/".join(["a"] * 70), b"x")],
    "a part too long": [entry("a" * 300, b"x")],
    "a path too long": [entry("/".join(["a" * 60] * 40), b"x")],
    "a target too long": [link("a", "b" * 5000)],
    "a NUL in pax": [entry("a", b"x", pax_headers={"path": "a\0b"})],
}


@pytest.mark.parametrize(
    ("name", "form"),
    [(name, tarfile.PAX_FORMAT) for name in OUTSIDE]
    + [(name, tarfile.GNU_FORMAT) for name in OUTSIDE if "in pax" not in name],
)
def test_what_reaches_outside_is_refused_whole(place: Place, name: str, form: int) -> None:
    sound = entry("bin/gcc", b"sound", mode=0o755)
    place.refused(packed(sound, *OUTSIDE[name], entry("z", b"after"), form=form), "archive is not unpacked: .")
    assert not os.path.lexists("/tmp/manycc-evil")


@pytest.mark.parametrize("press", PRESS)
def test_cut_off_anywhere_is_refused(place: Place, press: str) -> None:
    content = random.Random(1).randbytes(5000)
    whole = PRESS[press](packed(entry("bin/gcc", content, mode=0o755), link("cc", "bin/gcc")))
    tail = b"\0" * 1024 if press == "plain" else b""
    assert whole.endswith(tail)
    end = len(whole.rstrip(b"\0")) if press == "plain" else len(whole)
    for cut in {*range(0, end, max(1, end // 40)), end - 1, end - 2, end - 9}:
        place.refused(whole[:cut], "cut off|no tar archive|damaged")
    place.unpack(whole)
    assert (place.target / "bin/gcc").read_bytes() == content


@pytest.mark.parametrize("press", PRESS)
def test_damage_is_noticed_or_harmless(place: Place, press: str) -> None:
    chance = random.Random(press)
    whole = PRESS[press](packed(entry("a/b", chance.randbytes(2000)), link("c", "a/b"), form=tarfile.PAX_FORMAT))
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            place.unpack(bytes(damaged))
        except ToolchainError:
            refused += 1
            place.untouched()
        else:
            shutil.rmtree(place.target)
    assert refused > 5  # most of a plain archive is content and padding, which has no checksum


def test_an_empty_file_and_other_things_are_no_archives(place: Place) -> None:
    place.refused(b"", "cut off")
    place.refused(b"#!/bin/sh\nexit 0\n" * 100, "no tar archive")
    place.refused(b"PK\x03\x04" + bytes(1000), "a zip file")
    place.archive.unlink()
    os.mkfifo(place.archive)
    with pytest.raises(ToolchainError, match="is no file"):
        unpack(str(place.archive), str(place.target))
    place.untouched()
    place.archive.unlink()
    with pytest.raises(ToolchainError, match="No such file"):
        unpack(str(place.archive), str(place.target))


@pytest.mark.parametrize("press", [name for name in PRESS if name != "plain"])
def test_bombs_by_ratio(place: Place, press: str) -> None:
    data = PRESS[press](packed(entry("zeros", bytes(6 * MEBIBYTE))))
    place.refused(data, "50 times its size")


@pytest.mark.parametrize("press", [name for name in PRESS if name != "plain"])
def test_bombs_behind_the_end(place: Place, press: str) -> None:
    """What follows the archive's end is read for its checksum only, and is bounded as well."""
    data = PRESS[press](packed(entry("a", b"x")) + bytes(6 * MEBIBYTE))
    place.refused(data, "50 times its size")


def test_bounds_of_size(place: Place) -> None:
    content = random.Random(2).randbytes(MEBIBYTE)
    place.refused(packed(*(entry(str(number), content) for number in range(9))), "8 MiB come out")
    # An entry that only says that it is large is refused by what it says.
    info, _ = entry("large")
    info.size = 1 << 50
    place.refused(info.tobuf(tarfile.GNU_FORMAT), "more than a toolchain can")
    info.size = -5
    place.refused(info.tobuf(tarfile.GNU_FORMAT), "negative size")


def test_bounds_of_entries(place: Place) -> None:
    assert Bounds().entries < 10**6
    place.refused(packed(*(entry(f"d/{number}") for number in range(501))), "more entries")
    place.refused(packed(*(entry("d", type=tarfile.DIRTYPE) for _ in range(501))), "more entries")
    place.refused(packed(*(entry(f"{number}/" + "d/" * 50 + "f") for number in range(20))), "more entries")


def test_bounds_of_links(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each leads through forty others, which have as many names each as a path can."""
    monkeypatch.setattr(planting, "_MAX_STEPS", 50_000)
    chain = [link(f"a{number}", "./" * 900 + f"a{number + 1}") for number in range(39)]
    data = packed(*chain, *(link(f"b{number}", "a0") for number in range(3)))
    place.refused(data, "lead through each other more than a toolchain's do")
    place.unpack(packed(*chain[:9]))


def test_names_of_any_length_are_not_read(place: Place) -> None:
    info, _ = entry("x", type=tarfile.GNUTYPE_LONGNAME)
    info.size = 1 << 40
    place.refused(info.tobuf(tarfile.GNU_FORMAT), "name of an entry is too long")


@pytest.mark.parametrize(
    "records",
    [b"8 path=a\n", b"99999 path=a\n", b"0 path=a\n", b"-1 path=a\n", b"path=a\n", b"10 patha\n\n\n", b"12 size=1e9\n",
     b"30 size=" + b"9" * 21 + b"\n", b"\xff\xff=\n"],
)  # fmt: skip
def test_damaged_extended_headers(place: Place, records: bytes) -> None:
    header, _ = entry("x", type=tarfile.XHDTYPE)
    header.size = len(records)
    data = header.tobuf(tarfile.USTAR_FORMAT) + records.ljust(512, b"\0") + packed(entry("a", b"x"))
    place.refused(data, "extended header is damaged")


def test_a_full_disk_is_told_before(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_full(path: str) -> object:
        return type("Usage", (), {"free": 256 * MEBIBYTE + 100})

    monkeypatch.setattr(planting.shutil, "disk_usage", nearly_full)
    place.refused(packed(entry("a", b"x" * 101)), "no room")
    place.unpack(packed(entry("a", b"x" * 100)))


def test_copying_a_folder_goes_by_the_same_rules(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = tmp_path_factory.mktemp("tree")
    (tree / "bin").mkdir()
    (tree / "bin/gcc").write_bytes(b"program")
    (tree / "bin/gcc").chmod(0o775)
    os.link(tree / "bin/gcc", tree / "bin/cc")
    os.symlink("bin", tree / "programs")

    def copied() -> None:
        place.target.mkdir()
        planting.copy(str(tree), str(place.target), 100, MEBIBYTE)

    copied()
    assert [(name, kind) for name, kind, _, _ in modes(place.target)] == [
        ("bin", "folder"), ("bin/cc", "file"), ("bin/gcc", "file"), ("programs", "link")
    ]  # fmt: skip
    assert os.path.samefile(place.target / "bin/cc", place.target / "bin/gcc")
    assert stat.S_IMODE((place.target / "bin/gcc").stat().st_mode) == 0o755
    for name, make in {
        "leads outside": lambda path: os.symlink("/etc", path),
        "no file, folder or link": os.mkfifo,
        "another user": lambda path: (path.write_bytes(b""), path.chmod(0o4755)),
    }.items():
        shutil.rmtree(place.target)
        make(tree / "bad")
        with pytest.raises(ToolchainError, match=name):
            copied()
        (tree / "bad").unlink()
    shutil.rmtree(place.target)
    os.symlink(tree, tree.parent / "called")
    place.target.mkdir()
    planting.copy(str(tree.parent / "called"), str(place.target), 100, MEBIBYTE)
    assert (place.target / "bin/gcc").exists()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tree / "bad"))
        shutil.rmtree(place.target)
        with pytest.raises(ToolchainError, match="no file, folder or link"):
            copied()


@pytest.mark.parametrize("swapped", ["bin/gcc", "bin"])
def test_a_link_in_the_place_of_what_is_copied_is_not_followed(
    place: Place, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    """Where others can write: what only root can read must not come out in a copy that all can read."""
    tree = tmp_path_factory.mktemp("tree")
    (tree / "bin").mkdir()
    (tree / "bin/gcc").write_bytes(b"program")
    (place.above / "gcc").write_text("untouched")
    real = os.stat

    def late(path: str, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        status = real(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        if path == os.path.basename(swapped) and not (tree / swapped).is_symlink():
            os.rename(tree / swapped, tree / "away")
            os.symlink(place.above / ("gcc" if swapped == "bin/gcc" else ""), tree / swapped)
        return status

    place.target.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", late)
        with contextlib.suppress(OSError, ToolchainError):
            planting.copy(str(tree), str(place.target), 100, MEBIBYTE)
    assert (tree / swapped).is_symlink()
    assert not [path for path in place.target.rglob("*") if path.is_file() and path.read_bytes() == b"untouched"]
