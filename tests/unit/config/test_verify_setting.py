"""The setting verify: one of N, or off; and where it was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from manycc.config import Config, every, load
from manycc.errors import ConfigError


def configured(tmp_path: Path, text: str = "", **env: str) -> Config:
    folder = tmp_path / "m"
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(text)
    return load({"MANYCC_DIR": str(folder), **env}, None, str(tmp_path / "etc.toml"))


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("", "off"),
        ('verify = "1/20"', "1/20"),
        ("verify = 0", "off"),
        ('verify = "off"', "off"),
        ('verify = "0"', "off"),
    ],
)
def test_what_a_file_says(tmp_path: Path, text: str, rate: str) -> None:
    config = configured(tmp_path, text)
    assert config.verify == rate
    assert config.origin("verify") == (config.user_file if text else "default")


def test_the_environment_goes_before(tmp_path: Path) -> None:
    config = configured(tmp_path, 'verify = "1/20"', MANYCC_VERIFY="1/3")
    assert (config.verify, config.origin("verify")) == ("1/3", "MANYCC_VERIFY (environment)")
    assert configured(tmp_path, 'verify = "1/20"', MANYCC_VERIFY="0").verify == "off"
    assert configured(tmp_path, 'verify = "1/20"', MANYCC_VERIFY="").verify == "1/20"


@pytest.mark.parametrize("value", ["20", "1/0", "2/3", "1/-1", "1/1e3", "1/", "yes", "1/1000000000", " 1/2"])
def test_what_is_no_rate_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r'MANYCC_VERIFY=.*expected "1/N"'):
        configured(tmp_path, "", MANYCC_VERIFY=value)
    with pytest.raises(ConfigError, match="verify = "):
        configured(tmp_path, f'verify = "{value}"')


@pytest.mark.parametrize("value", ["1", "true", "false", "0.5", "[1]"])
def test_other_types_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="verify = "):
        configured(tmp_path, f"verify = {value}")


def test_every() -> None:
    assert [every(text) for text in ("off", "0", "1/1", "1/250")] == [0, 0, 1, 250]
