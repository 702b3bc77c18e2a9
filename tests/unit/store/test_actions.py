"""The result cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manycc.job import FILE, FOLDER, LINK
from manycc.store.actions import ActionCache, CachedOutput, CachedResult, action_key, input_token
from manycc.store.store import Store

KEY = hashlib.sha256(b"key").digest()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(str(tmp_path / "store"))
    yield made
    made.close()


def result_of(store: Store, *contents: bytes) -> CachedResult:
    outputs = [
        CachedOutput(f"/b/\udcff{n}", 0o644, len(data), store.add_bytes(data)) for n, data in enumerate(contents)
    ]
    return CachedResult(outputs, b"out", b"err", 1.5, 1 << 20)


def record_path(store: Store) -> str:
    return f"{store.root}/actions/{KEY.hex()[:2]}/{KEY.hex()}"


def test_a_result_is_found_again(store: Store) -> None:
    cache = ActionCache(store)
    assert cache.get(KEY) is None
    result = result_of(store, b"object", b"", b"depfile")
    assert cache.put(KEY, result)
    found = cache.get(KEY)
    assert found == result and found is not None
    files = cache.open_outputs(found)
    assert files is not None
    assert [file.read() for file in files] == [b"object", b"", b"depfile"]
    for file in files:
        file.close()


def test_a_lost_content_makes_a_miss(store: Store) -> None:
    cache = ActionCache(store)
    result = result_of(store, b"object", b"depfile")
    cache.put(KEY, result)
    store.drop(result.outputs[1].digest)
    assert cache.get(KEY) is None
    assert cache.open_outputs(result) is None


def test_texts_too_long_are_not_kept(store: Store) -> None:
    cache = ActionCache(store)
    assert not cache.put(KEY, result_of(store)._replace(stderr=bytes(2 << 20)))
    assert cache.get(KEY) is None


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_damaged_record_is_a_miss(store: Store, data: st.DataObject) -> None:
    cache = ActionCache(store)
    cache.put(KEY, result_of(store, b"object"))
    with open(record_path(store), "rb") as file:
        record = bytearray(file.read())
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(record) - 1))
        record[place] ^= data.draw(st.integers(1, 255))
    else:
        del record[data.draw(st.integers(0, len(record) - 1)) :]
    os.unlink(record_path(store))
    with open(record_path(store), "wb") as file:
        file.write(record)
    assert cache.get(KEY) is None
    assert not os.path.exists(record_path(store))


def test_everything_that_matters_is_in_the_key() -> None:
    token = input_token(FILE, "/b/a.c", b"\1" * 32, "")
    other = input_token(FILE, "/b/b.c", b"\2" * 32, "")

    def key(**change: object) -> bytes:
        fields: dict[str, object] = {
            "toolchain": ("f", "/usr/bin/gcc"), "argv": ("gcc", "-c", "a.c"), "cwd": "/b",
            "env": [("A", "1"), ("B", "2")],
            "umask": 0o22, "inputs": [token, other], "places": (("/b",), ("/b/a.o",), ()), **change,
        }  # fmt: skip
        return action_key(**fields)  # type: ignore[arg-type]

    same = [key(), key(inputs=[other, token]), key(env=[("B", "2"), ("A", "1")])]
    assert len(set(same)) == 1
    others = [
        key(toolchain=("g", "/usr/bin/gcc")), key(toolchain=("f", "/usr/bin/cc")), key(argv=("gcc", "-c a.c")),
        key(cwd="/c"),
        key(env=[("A", "1")]), key(umask=0o77), key(inputs=[token]), key(places=(("/b",), (), ("/b/a.o",))),
        key(argv=("gcc", "-c", "\udcff")),
    ]  # fmt: skip
    assert len({key(), *others}) == len(others) + 1


def test_everything_of_an_input_is_in_its_token() -> None:
    tokens = {
        input_token(FILE, "/a", b"\1" * 32, ""),
        input_token(FILE, "/a", b"\2" * 32, ""),
        input_token(FILE, "/b", b"\1" * 32, ""),
        input_token(LINK, "/a", b"", "x"),
        input_token(LINK, "/a", b"", "y"),
        input_token(FOLDER, "/a", b"", ""),
    }
    assert len(tokens) == 6
