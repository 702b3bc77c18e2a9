"""An engine for workers on a real line: it gives out leases, holds calls as BuildGrid does, and fails when told to."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from grpc_serving import handler

from manycc.reapi import bots_pb2


class FakeBots:
    """``jobs`` are the leases that the worker is to have; ``errors`` are answered to the next updates instead."""

    def __init__(self) -> None:
        self.made: list[bots_pb2.BotSession] = []
        self.updates: list[bots_pb2.BotSession] = []
        self.peers: list[str] = []
        self.jobs: dict[str, bots_pb2.Lease] = {}
        self.done: dict[str, bots_pb2.Lease] = {}
        self.errors: list[grpc.StatusCode] = []
        self.words = "as the test wants it"
        self.on: dict[str, Callable[[Any, Any], Any]] = {}
        self.ended = threading.Event()
        """Set when the engine goes: whoever holds an answer back must let go then."""
        self._news = threading.Condition()
        self._numbers = itertools.count(1)
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        methods = {name: self._method(name) for name in ("CreateBotSession", "UpdateBotSession")}
        self._server.add_generic_rpc_handlers((handler(bots_pb2.DESCRIPTOR, "Bots", methods),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        self.ended.set()
        with self._news:
            self._news.notify_all()
        self._server.stop(None).wait(10)

    def give(self, *names: str, state: bots_pb2.LeaseState = bots_pb2.PENDING) -> None:
        with self._news:
            for name in names:
                self.jobs[name] = bots_pb2.Lease(id=name, state=state)
            self._news.notify_all()

    def forget(self) -> None:
        """Lose the session, as an engine does that has not heard of it for long."""
        with self._news:
            self.made.append(bots_pb2.BotSession(name="main/of somebody else's"))
            self._news.notify_all()

    def silent(self, request: Any, context: Any) -> Any:
        """Answer nothing until the end."""
        self.ended.wait(60)
        context.abort(grpc.StatusCode.UNAVAILABLE, "the end")

    def _method(self, name: str) -> Callable[[Any, Any], Any]:
        def answer(request: Any, context: Any) -> Any:
            self.peers.append(context.peer())
            return self.on.get(name, getattr(self, name))(request, context)

        return answer

    def CreateBotSession(self, request: Any, context: Any) -> bots_pb2.BotSession:
        session = bots_pb2.BotSession()
        session.CopyFrom(request.bot_session)
        session.name = f"{request.parent}/{next(self._numbers)}"
        self.made.append(session)
        return session

    def UpdateBotSession(self, request: Any, context: Any) -> bots_pb2.BotSession:
        session = request.bot_session
        if self.errors:
            context.abort(self.errors.pop(0), self.words)
        if request.name != self.made[-1].name:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Mismatch between client supplied bot_id/bot_name")
        with self._news:
            self.updates.append(session)
            known = {lease.id for lease in session.leases}
            over = [lease for lease in session.leases if lease.state == bots_pb2.COMPLETED]
            for lease in over:
                if self.jobs.pop(lease.id, None) is not None:
                    self.done[lease.id] = lease
            capacity = int(session.worker.configs[0].value)
            end = time.monotonic() + 0.8 * (context.time_remaining() or 1.0)
            while (
                session.status == bots_pb2.OK
                and not over
                and len(self.jobs) < capacity
                and set(self.jobs) == known
                and not self.ended.is_set()
                and context.is_active()
                and request.name == self.made[-1].name
                and time.monotonic() < end
            ):
                self._news.wait(0.05)
            answer = bots_pb2.BotSession()
            answer.CopyFrom(session)
            del answer.leases[:]
            answer.leases.extend(self.jobs.values())
            return answer
