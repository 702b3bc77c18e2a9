"""Where distcc's host list is found, and that a changed file is read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manycc.agent.hosts import Hosts
from manycc.compat.hostfiles import DistccHosts
from manycc.config import load
from manycc.inputs.fileview import FileView
from manycc.schedule.local import LocalSlots
from manycc.verify.quarantine import Quarantine


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return tmp_path / "system-hosts"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_first_place_that_has_a_list_counts(tmp_path: Path, system: Path) -> None:
    hosts = DistccHosts(str(system))
    env = {"HOME": str(tmp_path / "home"), "DISTCC_DIR": str(tmp_path / "dir"), "DISTCC_HOSTS": "variable"}
    write(system, "for-all")
    home = write(tmp_path / "home/.distcc/hosts", "home")
    folder = write(tmp_path / "dir/hosts", "# mine\nfolder/3")
    assert hosts.find(env) == ("variable", "DISTCC_HOSTS (environment)")
    assert hosts.find({**env, "DISTCC_HOSTS": ""}) == ("", "DISTCC_HOSTS (environment)")
    del env["DISTCC_HOSTS"]
    assert hosts.find(env) == ("# mine\nfolder/3", str(folder))
    del env["DISTCC_DIR"]
    assert hosts.find(env) == ("home", str(home))
    home.unlink()
    assert hosts.find(env) == ("for-all", str(system))
    system.unlink()
    assert hosts.find(env) is None
    assert hosts.find({}) is None


@pytest.mark.parametrize("text", ["127.0.0.1\n", "# only a test\nlocalhost/2", "[::1] localhost:3632", ""])
def test_a_system_list_of_this_machine_only_is_passed_over(tmp_path: Path, system: Path, text: str) -> None:
    write(system, text)
    assert DistccHosts(str(system)).find({"HOME": str(tmp_path)}) is None
    mine = write(tmp_path / ".distcc/hosts", text)
    assert DistccHosts(str(system)).find({"HOME": str(tmp_path)}) == (text, str(mine))


def test_a_changed_file_is_read_again(tmp_path: Path, system: Path) -> None:
    hosts = DistccHosts(str(system))
    env = {"DISTCC_DIR": str(tmp_path)}
    path = write(tmp_path / "hosts", "one")
    assert hosts.find(env) == ("one", str(path))
    path.write_text("two2")
    assert hosts.find(env) == ("two2", str(path))
    other = write(tmp_path / "new", "six6")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)
    assert hosts.find(env) == ("six6", str(path))


def test_what_is_no_readable_file_is_no_list(tmp_path: Path, system: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/hosts").mkdir()
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b/hosts")
    hosts = DistccHosts(str(system))
    for name in "abc\0":
        assert hosts.find({"DISTCC_DIR": str(tmp_path / name)}) is None


def test_manyccs_own_settings_come_first(tmp_path: Path, system: Path) -> None:
    env = {"MANYCC_DIR": str(tmp_path / "m"), "DISTCC_HOSTS": "theirs"}
    assert load(env, None, str(system)).hosts == "theirs"
    assert load(env, None, str(system)).origin("hosts") == "DISTCC_HOSTS (environment)"
    assert load(env, None, str(system), distcc=False).hosts == ""
    write(system, 'hosts = "ours"')
    assert load(env, None, str(system)).hosts == "ours"
    assert load({**env, "MANYCC_HOSTS": ""}, None, str(system)).hosts == ""
    write(system, 'hosts = ""')
    assert load(env, None, str(system)).hosts == ""


def test_each_job_brings_the_variables_that_name_its_hosts(tmp_path: Path, system: Path) -> None:
    base = {"MANYCC_DIR": str(tmp_path / "m")}
    config = load(base, None, str(system), distcc=False)
    hosts = Hosts(config, FileView(None), LocalSlots(1), Quarantine(config.quarantine_path, lambda path: b""))
    path = write(tmp_path / "d/hosts", "filed")
    assert hosts.list_for({"MANYCC_HOSTS": "pi", "DISTCC_HOSTS": "theirs"}) == "pi"
    assert hosts.list_for({"MANYCC_HOSTS": "", "DISTCC_HOSTS": "theirs"}) == ""
    assert hosts.list_for({"DISTCC_HOSTS": "theirs"}) == "theirs"
    assert hosts.list_for({"DISTCC_DIR": str(tmp_path / "d")}) == "filed"
    path.write_text("changed")
    assert hosts.list_for({"DISTCC_DIR": str(tmp_path / "d")}) == "changed"
    write(system, 'hosts = "ours"')
    config = load(base, None, str(system), distcc=False)
    hosts = Hosts(config, FileView(None), LocalSlots(1), Quarantine(config.quarantine_path, lambda path: b""))
    assert hosts.list_for({"DISTCC_HOSTS": "theirs"}) == "ours"
