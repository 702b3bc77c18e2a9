"""What ``manycc engine check`` advises about an engine that cannot be used."""

from __future__ import annotations

import pytest

from manycc.cli.enginecheck import advice
from manycc.engine.address import parse_engine
from manycc.engine.line import _WANTED

PLAIN, TLS = "reapi://e/main", "reapis://e/main"
OWN = "reapis://e/main?cert=/c&key=/k"


@pytest.mark.parametrize(
    ("why", "url", "word"),
    [
        ("Connect call failed ('127.0.0.1', 1)", PLAIN, "does the server run"),
        ("its certificate is not accepted: unable to get local issuer certificate", TLS, "ca="),
        ("its certificate is not accepted: it is not valid for 'e'", TLS, "--host"),
        ("no TLS connection: WRONG_VERSION_NUMBER", TLS, "reapi://"),
        ("it does not speak HTTP/2", PLAIN, "reapis://"),
        ("the connection to the engine was lost", PLAIN, "reapis://"),
        ("the connection to the engine was lost", TLS, "cert= and key="),
        ("the connection to the engine was lost", OWN, "signed by this engine's authority"),
        (f"the connection to the engine was lost{_WANTED}", TLS, "cert= and key="),
        (f"the connection to the engine was lost{_WANTED}", OWN, "signed by this engine's authority"),
        ("the engine says INVALID_ARGUMENT: Invalid instance name: [other]", PLAIN, "/INSTANCE"),
        ("it did not answer within 10 s", PLAIN, "is the port reached"),
        ("/tmp/ca.pem cannot be read: No such file or directory", TLS, ""),
    ],
)  # fmt: skip
def test_advice(why: str, url: str, word: str) -> None:
    said = advice(why, parse_engine(url, 1))
    assert word in said
    assert bool(said) == bool(word)
