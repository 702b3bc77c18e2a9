"""Settings: precedence, origins, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manycc.config import SETTINGS, Config, cpu_count, folders, load
from manycc.errors import ConfigError


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return tmp_path / "etc.toml"


def configured(tmp_path: Path, system: Path, flags: dict[str, object] | None = None, **env: str) -> Config:
    return load({"MANYCC_DIR": str(tmp_path / "m"), **env}, flags, str(system))


def write_user(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "m" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_defaults(tmp_path: Path, system: Path) -> None:
    config = configured(tmp_path, system)
    assert (config.hosts, config.idle_s, config.connect_timeout_s, config.job_timeout_s) == ("", 600.0, 3.0, 1800.0)
    assert config.local_slots == cpu_count()
    assert {config.origin(setting.name) for setting in SETTINGS} == {"default"}


def test_each_layer_overrides_the_one_before_and_is_named(tmp_path: Path, system: Path) -> None:
    system.write_text('hosts = "etc"\nidle_s = 1\nlocal_slots = 1\nconnect_timeout_s = 1\n')
    user = write_user(tmp_path, 'hosts = "user"\nidle_s = 2\nlocal_slots = 2\n')
    config = configured(tmp_path, system, {"hosts": "flag", "idle_s": None}, MANYCC_HOSTS="env", MANYCC_IDLE="3.5")
    assert (config.hosts, config.idle_s, config.local_slots, config.connect_timeout_s) == ("flag", 3.5, 2, 1.0)
    assert config.origin("hosts") == "a flag"
    assert config.origin("idle_s") == "MANYCC_IDLE (environment)"
    assert config.origin("local_slots") == str(user)
    assert config.origin("connect_timeout_s") == str(system)
    assert config.origin("job_timeout_s") == "default"


def test_an_empty_host_variable_means_no_hosts(tmp_path: Path, system: Path) -> None:
    write_user(tmp_path, 'hosts = "pi"\nidle_s = 2\n')
    config = configured(tmp_path, system, MANYCC_HOSTS="", MANYCC_IDLE="")
    assert config.hosts == ""
    assert config.idle_s == 2


def test_hosts_may_be_a_list(tmp_path: Path, system: Path) -> None:
    write_user(tmp_path, 'hosts = ["pi/4", "laptop:3636  # the old one"]')
    assert [spec.name for spec in configured(tmp_path, system).host_specs()] == ["pi", "laptop:3636"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("idle_s = 'long'", ["idle_s = \"'long'\"", "expected seconds"]),
        ("idle_s = true", ["idle_s", "expected seconds"]),
        ("idle_s = nan", ["idle_s", "expected seconds"]),
        ("local_slots = 1.5", ["local_slots", "expected a whole number"]),
        ("local_slots = 0", ["local_slots", "from 1 to"]),
        ("hosts = 3", ["hosts", "a host list"]),
        ("hosts = 'pi/x'", ["column 1", "pi/x", "slot"]),
        ("idel_s = 1", ["'idel_s' is no setting", "settings are: hosts, local_slots, idle_s"]),
        ("[node]\njobs = 3", ["'node' is no setting"]),
        ("idle_s = = 3", ["is no TOML file", "line 1"]),
    ],
)
def test_a_file_with_a_fault_is_named_with_key_and_expectation(
    tmp_path: Path, system: Path, text: str, words: list[str]
) -> None:
    user = write_user(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, system)
    for word in [str(user), *words]:
        assert word in str(caught.value)


def test_a_file_that_is_not_utf8_or_too_large_is_refused(tmp_path: Path, system: Path) -> None:
    path = write_user(tmp_path, "")
    for data in (b'hosts = "\xff"', b"#" * (1 << 20) + b"\n"):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match="no TOML file"):
            configured(tmp_path, system)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MANYCC_IDLE", "soon"),
        ("MANYCC_IDLE", "-1"),
        ("MANYCC_IDLE", "inf"),
        ("MANYCC_LOCAL_SLOTS", "two"),
        ("MANYCC_LOCAL_SLOTS", "2.5"),
        ("MANYCC_CONNECT_TIMEOUT", "1e9"),
        ("MANYCC_RECORD_LOG_BYTES", "1"),
    ],
)
def test_a_bad_variable_is_named(tmp_path: Path, system: Path, variable: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, system, **{variable: text})
    assert f"{variable}={text!r}" in caught.value.what
    assert "expected" in caught.value.why


def test_a_broken_host_variable_does_not_keep_an_agent_from_starting(tmp_path: Path, system: Path) -> None:
    config = configured(tmp_path, system, MANYCC_HOSTS="a:b")
    with pytest.raises(ConfigError, match=r"MANYCC_HOSTS \(environment\): host list, column 1"):
        config.host_specs()


def test_folders_follow_xdg() -> None:
    env = {
        "HOME": "/h", "XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c", "XDG_CONFIG_HOME": "/f"
    }  # fmt: skip
    assert folders(env) == {
        "runtime_dir": "/r/manycc",
        "state_dir": "/s/manycc",
        "cache_dir": "/c/manycc",
        "user_file": "/f/manycc/config.toml",
    }
    assert folders({"HOME": "/h"}) == {
        "runtime_dir": f"/tmp/manycc-{os.getuid()}",
        "state_dir": "/h/.local/state/manycc",
        "cache_dir": "/h/.cache/manycc",
        "user_file": "/h/.config/manycc/config.toml",
    }
    # An empty variable is one that is not set; MANYCC_DIR comes before all others.
    assert folders({"HOME": "/h", "XDG_RUNTIME_DIR": "", "MANYCC_DIR": ""})["runtime_dir"].startswith("/tmp/")
    assert folders({**env, "MANYCC_DIR": "/m"})["runtime_dir"] == "/m/run"
    assert folders({**env, "MANYCC_DIR": "m"})["state_dir"] == os.path.abspath("m/state")


def test_the_runtime_folder_is_made_private(tmp_path: Path, system: Path) -> None:
    config = configured(tmp_path, system)
    old = os.umask(0)
    try:
        path = config.ensure_runtime_dir()
    finally:
        os.umask(old)
    assert os.stat(path).st_mode & 0o777 == 0o700
    assert config.ensure_runtime_dir() == path


def test_a_runtime_folder_others_could_use_is_refused(tmp_path: Path, system: Path) -> None:
    config = configured(tmp_path, system)
    path = Path(config.ensure_runtime_dir())
    path.chmod(0o750)
    with pytest.raises(ConfigError, match="others have access"):
        config.ensure_runtime_dir()
    path.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="no folder"):
        config.ensure_runtime_dir()


@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: only root can give a folder away")
def test_a_runtime_folder_of_another_user_is_refused(tmp_path: Path, system: Path) -> None:
    config = configured(tmp_path, system)
    os.chown(config.ensure_runtime_dir(), 12345, 12345)
    with pytest.raises(ConfigError, match="another user"):
        config.ensure_runtime_dir()
