"""The lab's delay: each frame is held so long, in its order, and none is held longer than it must."""

from __future__ import annotations

import os
import socket
import time

from lab.delay import Direction


def test_frames_are_held_and_keep_their_order() -> None:
    source, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far, target = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with source, near, far, target:
        near.setblocking(False)
        way = Direction(near.fileno(), far.fileno(), 10.0)
        assert way.release(time.monotonic()) is None
        begun = time.monotonic()
        for frame in (b"one", b"two"):
            source.send(frame)
        way.take()
        way.take()  # nothing has come: does not wait
        taken = time.monotonic()
        due = way.release(taken)
        assert due is not None
        assert 10 - (taken - begun) <= due <= 10
        assert way.release(taken + 10) is None
        assert [target.recv(9) for _ in range(2)] == [b"one", b"two"]


def test_a_full_queue_loses_frames_and_nothing_else() -> None:
    source, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    read, write = os.pipe()
    with source, near:
        near.setblocking(False)
        os.set_blocking(write, False)
        os.write(write, bytes(1 << 16))
        way = Direction(near.fileno(), write, 0)
        source.send(b"lost")
        way.take()
        assert way.release(time.monotonic()) is None
        os.read(read, 1 << 16)
        source.send(b"kept")
        way.take()
        assert way.release(time.monotonic()) is None
        assert os.read(read, 9) == b"kept"
    os.close(read)
    os.close(write)
