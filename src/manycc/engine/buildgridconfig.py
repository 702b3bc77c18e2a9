"""The configuration of a BuildGrid server that serves manycc's agents and nodes.

BuildGrid's defaults are for builds of minutes, and some of its switches cost more than they give. What is set
here, and why, stands in the text that is written, for whoever operates the server reads that.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Final

VERSION: Final = "0.9.1"
"""The release of BuildGrid that manycc is tested with; it takes Python 3.13."""
PROPERTIES: Final = ("OSFamily", "ISA", "toolchain")
"""The platform properties of manycc's nodes. A key that a server does not list makes it refuse the job."""
POOL: Final = 20
"""Connections to the database that one server has at most. It is Python, so few threads are in the database at once,
and those that wait for a job or for work hold none."""
MAX_EXECUTION_S: Final = 86400
"""No job's own limit may be longer: the longest that ``job_timeout_s`` of an agent may say."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """``address`` as HOST:PORT; ``database`` as a connection string of PostgreSQL's; times in seconds.

    ``certificate`` and ``key`` are PEM files, empty for a server without TLS; ``clients`` the authority of clients'
    certificates, empty where none are asked for. ``keepalive``: after how long without a word a worker counts as
    lost; ``threads``: each call under way holds one. ``results``: the URL of the server that keeps the results for
    several (``ResultsConfig``); empty: each keeps its own.
    """

    address: str
    database: str
    storage: str
    instance: str = "main"
    certificate: str = ""
    key: str = ""
    clients: str = ""
    keepalive: int = 60
    threads: int = 100
    threads_note: str = "Each client that waits for a job, and each worker that waits for work, holds one."
    results: str = ""

    def text(self) -> str:
        """The file."""
        return _TEXT.format(
            version=VERSION,
            channel=self._channel(),
            database=_quoted(self.database),
            storage=_quoted(self.storage),
            cache=_SHARED.format(url=_quoted(self.results)) if self.results else _OWN,
            instance=_quoted(self.instance),
            properties=", ".join(PROPERTIES),
            keepalive=self.keepalive,
            longest=MAX_EXECUTION_S,
            threads=self.threads,
            threads_note=textwrap.fill(self.threads_note, 116, initial_indent="# ", subsequent_indent="# "),
            pool=POOL // 2,
        )

    def _channel(self) -> str:
        lines = [
            f"    address: {_quoted(self.address)}",
            f"    insecure-mode: {'false' if self.certificate else 'true'}",
        ]
        if self.certificate:
            lines += [
                "    credentials:",
                f"      tls-server-key: {_quoted(self.key)}",
                f"      tls-server-cert: {_quoted(self.certificate)}",
            ]
            if self.clients:
                lines.append(f"      tls-client-certs: {_quoted(self.clients)}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class ResultsConfig:
    """A server that only remembers results, for all the servers of a storage; ``address``: a socket, as unix:/PATH."""

    address: str
    storage: str
    instance: str = "main"

    def text(self) -> str:
        """The file."""
        return _RESULTS.format(
            version=VERSION,
            address=_quoted(self.address),
            storage=_quoted(self.storage),
            instance=_quoted(self.instance),
        )


def _quoted(text: str) -> str:
    """A scalar of YAML's that means this text, whatever is in it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_TEXT: Final = """\
# BuildGrid {version}, for manycc. Check it with: bgd server lint FILE
server:
  - !channel
{channel}

authorization:
  method: none

monitoring:
  enabled: false

connections:
  - !sql-connection &sql
    connection-string: {database}
    # Together the most connections that this process has. Whoever waits for a job or for work holds none.
    pool-size: {pool}
    max-overflow: {pool}
    pool-timeout: 30

storages:
  - !disk-storage &cas
    path: {storage}

caches:
{cache}

schedulers:
  - !sql-scheduler &scheduler
    sql: *sql
    storage: *cas
    action-cache: *results
    property-set: !dynamic-property-set
      # A property that is not listed is refused ("Unregistered platform property").
      match-property-keys: [{properties}]
    # A worker that says nothing for so long is taken for dead, and its jobs are given to another.
    bot-session-keepalive-timeout: {keepalive}
    session-expiry-timer-interval: 2
    poll-interval: 0.1
    bot-poll-interval: 0.1
    max-job-attempts: 3
    # A client's own limit of a job may not be longer: a job that says more is refused.
    max-execution-timeout: {longest}
    # Whoever wants a job waits two minutes for a worker; what waits longer has lost its client.
    queue-timeout-job-max-age: {{minutes: 10}}
    queue-timeout-period: {{minutes: 1}}
    # What is over is kept for three days, for whoever looks into the database. Without this it would be kept for ever.
    pruner-job-max-age: {{days: 3}}
    pruner-period: {{minutes: 10}}
    # true would make each call of a worker return at once: server and workers would spin.
    proactive-fetch-to-capacity: false
    # A worker that reports a result gets its next job with the answer.
    proactive-fetch-full-queue: true
    assigners:
      # The default interval of 1 s is what each job would wait for.
      - !priority-age-assigner
        name: assigner
        count: 1
        interval: 0.05
        jitter-factor: 0.1
        busy-sleep-factor: 0.0

instances:
  - name: {instance}
    services:
      - !cas
        storage: *cas
      - !bytestream
        storage: *cas
      - !action-cache
        cache: *results
      - !execution
        scheduler: *scheduler
        operation-stream-keepalive-timeout: 60

{threads_note}
# A call beyond them is refused at once, also that of a worker that brings a result. A thread takes a tenth of a
# megabyte once it was needed.
thread-pool-size: {threads}
"""

_OWN: Final = """\
  # In the memory of this server: gone when it is started anew, and not shared with another one.
  - !lru-action-cache &results
    storage: *cas
    max-cached-refs: 200000
    allow-updates: true
    # A compile that failed may have failed for want of something that is there the next time.
    cache-failed-actions: false"""

_SHARED: Final = """\
  # One process keeps the results for all servers: results.yml.
  - !remote-action-cache &results
    url: {url}"""

_RESULTS: Final = """\
# BuildGrid {version}, for manycc: which results there are, for all the servers. Check it with: bgd server lint FILE
server:
  - !channel
    address: {address}
    insecure-mode: true

authorization:
  method: none

monitoring:
  enabled: false

storages:
  - !disk-storage &cas
    path: {storage}

caches:
  # Their digests are in the memory of this process: gone when it is started anew.
  - !lru-action-cache &results
    storage: *cas
    max-cached-refs: 200000
    allow-updates: true
    # A compile that failed may have failed for want of something that is there the next time.
    cache-failed-actions: false

instances:
  - name: {instance}
    services:
      - !cas
        storage: *cas
      - !action-cache
        cache: *results

# All calls are short: those beyond the threads wait for one, and none is refused.
thread-pool-size: 20
maximum-concurrent-rpcs: 100000
"""
