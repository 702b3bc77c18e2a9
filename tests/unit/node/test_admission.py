"""What a job may set is what an agent sends; and what it may call the compiler."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from manycc.agent.prepare import RESULT_ENV
from manycc.errors import BackendRefused
from manycc.node import admission
from manycc.node.admission import ENVIRONMENT
from manycc.node.messages import JobMessage
from manycc.node.toolchains import Served


def test_all_that_an_agent_sends_may_be_set() -> None:
    assert set(RESULT_ENV) <= ENVIRONMENT


def test_nothing_that_changes_what_is_run_may_be_set() -> None:
    for name in (
        "PATH",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "GCC_EXEC_PREFIX",
        "COMPILER_PATH",
        "TMPDIR",
        "HOME",
        "GCONV_PATH",
    ):
        assert name not in ENVIRONMENT


@pytest.mark.parametrize(("word", "driver"), [("/x/zig", "/usr/bin/clang-14"), ("/x/clang", "/opt/zig/zig")])
def test_a_link_does_not_make_zig_of_a_compiler_or_hide_it(word: str, driver: str) -> None:
    """The parser takes the second word of zig for a driver's name: what runs must do the same."""
    served = cast(Served, SimpleNamespace(driver=driver, real_driver=driver))
    message = JobMessage(0, 0, (word, "cc", "-c", "a.c"), "/w", (), 0o022, [], (), (), (), 0, 0)
    with pytest.raises(BackendRefused, match="is not what the toolchain's driver is called"):
        admission._check_driver(message, served, {word: driver})
