"""Two entries of one path, after the agent has started anew."""

from __future__ import annotations

import pytest
from inputs_support import Client

from manycc.errors import NotDistributable
from manycc.testing.fileview import Tree

C = ("gcc", "-Iinc", "-c")


def test_reason_of_a_content_that_is_no_more_is_not_kept(tmp_path: object) -> None:
    tree = Tree(f"{tmp_path}/tree", {
        "a.c": "#include <h.h>\nint a;\n", "b.c": "#include <h.h>\nint b;\n", "inc/h.h": "int one;\n",
    })  # fmt: skip
    client = Client(tree)
    first = client.collect(*C, "a.c")
    client.collector._most = 0  # the next job starts anew
    tree.write("inc/h.h", "char *stamp = __TIMESTAMP__;\n")
    with pytest.raises(NotDistributable):
        client.collect(*C, "b.c")
    tree.write("inc/h.h", "int three, and_longer;\n")
    assert not client.check(first)  # a.c comes again: it looks at the entry of before
    assert client.names(client.collect(*C, "b.c")) == {"b.c", "inc/h.h"}
    assert client.names(client.collect(*C, "a.c")) == {"a.c", "inc/h.h"}
