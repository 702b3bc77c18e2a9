"""Running a job sealed: in a tree of its own, at the paths of the agent's machine."""

from __future__ import annotations

import time

from manycc.node import outputs
from manycc.node.admission import Plan
from manycc.node.options import NodeOptions
from manycc.node.process import Child
from manycc.node.runner import Keep, ProcessLimit, Ran, finish, output_limit, time_limit
from manycc.node.sandbox import Sandbox
from manycc.node.staging import Mount, RootPool, Workplace
from manycc.node.verdict import judge
from manycc.store.store import Store
from manycc.wire import native


class SealedRunner:
    """Satisfies ``runner.Runner``. Nothing is added to a command: that is why the bytes are the same."""

    def __init__(self, options: NodeOptions, store: Store, sandbox: Sandbox) -> None:
        self._options = options
        self._store = store
        self._sandbox = sandbox
        self._roots = RootPool(store, 2 * options.slots + 4)
        self._processes = ProcessLimit(options)

    def reconfigure(self, options: NodeOptions) -> None:
        self._options = options
        self._processes = ProcessLimit(options)

    async def run(self, plan: Plan, keep: Keep) -> Ran:
        began = time.monotonic()
        options = self._options
        root = self._roots.take(plan.tree)
        workplace = Workplace(self._store)
        try:
            workplace.prepare(root, plan.tree, plan.writable)
            line = self._sandbox.command(
                root.path,
                [*workplace.mounts, *(Mount("read", path, path) for path in plan.system)],
                plan.env.get("PWD", plan.cwd),  # bubblewrap sets PWD to the folder as it is spelled here
                plan.argv,
                options,
                self._processes.now(),
                proc=plan.served.own.kind == "clang",  # clang finds itself there, gcc by its name
            )
            staged = time.monotonic() - began
            child = Child(
                line,
                plan.env,
                plan.umask,
                text_limit=native.MAX_TEXT,
                time_limit=time_limit(options),
                terminal=plan.terminal,
            )
            limit = output_limit(options)
            finished = await finish(child, lambda: outputs.bytes_in(workplace.folders), limit)
            judge(finished, plan.argv[0], self._store.root, final=plan.direct)
            began = time.monotonic()
            produced = outputs.collect(workplace.folders, workplace.given, limit)
            keep(plan, finished, produced)
        finally:
            workplace.remove()
            self._roots.give_back(root)
        return Ran(finished, produced, staged + time.monotonic() - began)

    def close(self) -> None:
        self._roots.clear()
