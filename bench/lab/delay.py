"""A delay that the kernel need not know: holds each Ethernet frame between two TAP devices for so many seconds.

    python -I -S delay.py SECONDS DEVICE DEVICE

Run within the network namespace that is to have the devices; a line on stdout says that they are there. It is a
program of its own, so that its CPU time is nobody else's. Frames in each direction keep their order. What the
kernel's queue of a device (1000 frames) cannot hold while this does not run is lost, as on a real line.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque

_TUNSETIFF = 0x400454CA
_IFF_TAP_NO_PI = 0x0002 | 0x1000
_FRAME = 1 << 16
_BATCH = 64


def open_device(name: str) -> int:
    """Make a TAP device."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode("ascii"), _IFF_TAP_NO_PI))
    return descriptor


class Direction:
    """Frames on the way from one device to the other."""

    def __init__(self, source: int, target: int, delay: float) -> None:
        self._source = source
        self._target = target
        self._delay = delay
        self._held: deque[tuple[float, bytes]] = deque()

    def take(self) -> None:
        """Take in what has come."""
        for _ in range(_BATCH):
            try:
                frame = os.read(self._source, _FRAME)
            except BlockingIOError:
                return
            self._held.append((time.monotonic() + self._delay, frame))

    def release(self, now: float) -> float | None:
        """Let go what is due. Seconds until the next is; none if nothing is held."""
        while self._held:
            due = self._held[0][0] - now
            if due > 0:
                return due
            _, frame = self._held.popleft()
            try:
                os.write(self._target, frame)
            except OSError as error:  # the device is not up yet, or its queue is full: a frame is lost
                if not isinstance(error, BlockingIOError) and error.errno != errno.EIO:
                    raise
        return None


def carry(delay: float, names: tuple[str, str]) -> None:
    """Carry frames until this process is ended."""
    first, second = (open_device(name) for name in names)
    print("ready", flush=True)
    ways = {first: Direction(first, second, delay), second: Direction(second, first, delay)}
    poll = select.poll()
    for descriptor in ways:
        poll.register(descriptor, select.POLLIN)
    waits: list[float] = []
    while True:
        # Whole milliseconds, rounded up: a frame may be up to one late.
        for descriptor, _ in poll.poll(min(waits) * 1000 if waits else None):
            ways[descriptor].take()
        now = time.monotonic()
        waits = [wait for way in ways.values() if (wait := way.release(now)) is not None]


if __name__ == "__main__":
    carry(float(sys.argv[1]), (sys.argv[2], sys.argv[3]))
