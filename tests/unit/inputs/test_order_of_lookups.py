"""An answer of -M holds whatever was looked up before, in whatever order."""

from __future__ import annotations

import os

from inputs_support import Client

from manycc.testing.fileview import Tree, settled_view

SAME = "#pragma once\nint x;\n"


def test_answer_of_the_compiler_does_not_depend_on_what_other_jobs_did(tmp_path: object) -> None:
    tree = Tree(f"{tmp_path}/tree", {
        "a.c": '#include "q.h"\n', "b.c": '#include "r.h"\nint b;\n', "c.c": '#include "r.h"\nint c;\n',
        "q.h": '#include "r.h"\n#include "d.h"\n', "r.h": '#include "rr/x.h"\n',
        "d.h": '#if 0\n#include "dd/x.h"\n#endif\n', "rr/x.h": SAME, "dd/x.h": SAME,
    })  # fmt: skip
    for folder, seconds in (("rr", 1_000_000), ("dd", 2_000_000)):  # equal content, not equally old
        os.utime(tree.path(f"{folder}/x.h"), (seconds, seconds))

    def client() -> Client:
        return Client(tree, settled_view(f"{tmp_path}/files.sqlite"), f"{tmp_path}/answers.sqlite")

    first = client()
    first.collect("gcc", "-c", "a.c")
    assert first.collector.asked == 1
    first.collector.close()
    first.view.close()
    second = client()
    for name in ("b.c", "c.c", "a.c"):  # r.h is asked for twice before: what it leads to is written down
        second.collect("gcc", "-c", name)
    asked = second.collector.asked
    second.collector.close()
    second.view.close()
    assert asked == 0
