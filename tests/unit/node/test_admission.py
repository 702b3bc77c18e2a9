"""What a job may set is what an agent sends."""

from __future__ import annotations

from manycc.agent.prepare import RESULT_ENV
from manycc.node.admission import ENVIRONMENT


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
