"""What engines need and the rest of manycc does without: protobuf and hpack, which come with an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from manycc.errors import ConfigError

INSTALL: Final = "pip install 'manycc[engine]'"
_PACKAGES: Final = ("google", "hpack")


@contextmanager
def importing() -> Iterator[None]:
    """Around imports of what needs them: raises ConfigError where one is missing, or too old for what is generated."""
    try:
        from google.protobuf.runtime_version import VersionError
    except ImportError as error:
        raise _lacking(error) from error
    try:
        yield
    except VersionError as error:
        raise _lacking(error) from error
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise  # a fault of manycc's own
        raise _lacking(error) from error


def _lacking(error: Exception) -> ConfigError:
    why = " ".join(str(error).split())[:300]
    return ConfigError("remote execution engines need protobuf and hpack", why, INSTALL)
