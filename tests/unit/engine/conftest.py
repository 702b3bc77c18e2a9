"""What the tests of engines share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engine_fake import FakeEngine


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    fake = FakeEngine()
    yield fake
    fake.stop()
