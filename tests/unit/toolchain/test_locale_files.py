"""The compiler speaks the same in a root that holds only its own files and the locale's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from manycc.testing.requirements import lacking, need
from manycc.toolchain import locale
from manycc.toolchain.locale import locale_paths

WRONG = "int f(void) { int unused; return undeclared; }\n"


@pytest.fixture(autouse=True)
def _forget(monkeypatch) -> None:
    monkeypatch.setattr(locale, "_found", {})


@pytest.fixture(scope="session")
def german(tmp_path_factory) -> Path:
    """A LOCPATH folder with de_DE.UTF-8."""
    folder = tmp_path_factory.mktemp("locales")
    need("localedef")
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / "de_DE.UTF-8")], capture_output=True, text=True
    )
    if not (folder / "de_DE.UTF-8" / "LC_CTYPE").exists():
        lacking(f"no locale could be made: {made.stderr}")
    return folder


@pytest.mark.parametrize("env", [{}, {"LANG": "C"}, {"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, {"LANG": ""}])
def test_nothing_for_the_c_locale(env: dict[str, str]) -> None:
    assert locale_paths(env) == ()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc", "a/b.UTF-8", "..", "x" * 5 + "\0"])
def test_names_that_are_no_locales(name: str) -> None:
    assert locale_paths({"LC_ALL": name}) == ()


def spoken(sealed, toolchain, folder: Path, env: dict[str, str], *options: str) -> tuple[bytes, bytes]:
    """What the compiler says here, and in a sealed root."""
    (folder / "a.c").write_text(WRONG)
    name = os.path.basename(toolchain.driver)
    command = [name, "-Wall", *options, "-c", "a.c"]
    here = subprocess.run(
        command, executable=toolchain.driver, cwd=folder, env={"PATH": "/usr/bin:/bin", **env}, capture_output=True
    )
    there = sealed(toolchain, command, cwd=folder, folders=["/usr/include"], files=locale_paths(env), env=env)
    assert here.returncode == there.returncode != 0
    return here.stderr, there.stderr


def test_gcc_quotes(sealed, gcc, tmp_path: Path) -> None:
    env = {"LANG": "C.UTF-8"}
    here, there = spoken(sealed, gcc, tmp_path, env)
    if "\u2018".encode() not in here:
        lacking("this machine has no C.UTF-8 locale")
    assert here == there


def test_quotes_need_the_files(sealed, gcc, tmp_path: Path, monkeypatch) -> None:
    """The comparison can fail: without the files, gcc quotes otherwise."""
    monkeypatch.setattr(locale, "_search", lambda *names: [])
    here, there = spoken(sealed, gcc, tmp_path, {"LANG": "C.UTF-8"})
    if "\u2018".encode() not in here:
        lacking("this machine has no C.UTF-8 locale")
    assert here != there


def test_generated_locale(sealed, gcc, tmp_path: Path, german: Path) -> None:
    env = {"LC_ALL": "de_DE.UTF-8", "LOCPATH": str(german)}
    paths = locale_paths(env)
    assert f"{german}/de_DE.UTF-8/LC_CTYPE" in paths
    assert f"{german}/de_DE.UTF-8/LC_MESSAGES/SYS_LC_MESSAGES" in paths
    here, there = spoken(sealed, gcc, tmp_path, env)
    # gcc's German catalogue has quotes of its own; without it, they are those of the locale's characters.
    assert "\u2018".encode() in here or "\u00bb".encode() in here
    assert here == there


def test_clang(sealed, identify, clang_names, tmp_path: Path) -> None:
    here, there = spoken(sealed, identify(clang_names[0]), tmp_path, {"LANG": "C.UTF-8"})
    assert here == there


def test_catalogues(tmp_path: Path, monkeypatch) -> None:
    for name in ("de", "fr"):
        place = tmp_path / name / "LC_MESSAGES"
        place.mkdir(parents=True)
        for domain in ("gcc-12.mo", "cpplib-12.mo", "gas.mo", "libc.mo", "firefox.mo"):
            (place / domain).touch()
    monkeypatch.setattr(locale, "_CATALOGUES", (str(tmp_path),))
    names = [
        path.removeprefix(f"{tmp_path}/")
        for path in locale_paths({"LANG": "de_AT.UTF-8"})
        if path.startswith(str(tmp_path))
    ]
    assert names == [f"de/LC_MESSAGES/{domain}" for domain in ("cpplib-12.mo", "gas.mo", "gcc-12.mo", "libc.mo")]
    both = locale_paths({"LANG": "de_AT.UTF-8", "LANGUAGE": "fr:de"})
    assert f"{tmp_path}/fr/LC_MESSAGES/gcc-12.mo" in both


def test_archive_only_if_it_holds_the_locale(tmp_path: Path, monkeypatch) -> None:
    need("localedef")
    (tmp_path / "usr/lib/locale").mkdir(parents=True)
    subprocess.run(
        ["localedef", f"--prefix={tmp_path}", "-i", "de_DE", "-f", "UTF-8", "de_DE.UTF-8"], capture_output=True
    )
    archive = tmp_path / "usr/lib/locale/locale-archive"
    if not archive.exists():
        lacking("no archive could be made")
    monkeypatch.setattr(locale, "_ARCHIVE", str(archive))
    assert str(archive) in locale_paths({"LANG": "de_DE.UTF-8"})
    assert str(archive) not in locale_paths({"LANG": "fr_FR.UTF-8"})


def test_remembered(monkeypatch) -> None:
    first = locale_paths({"LANG": "C.UTF-8"})
    monkeypatch.setattr(locale, "_search", None)
    assert locale_paths({"LANG": "C.UTF-8", "HOME": "/"}) is first
