"""What is remembered does not grow with the number of edits."""

from __future__ import annotations

import pytest
from inputs_support import Client

from manycc.inputs import collect
from manycc.inputs.closure import Closures
from manycc.inputs.resolve import Resolver
from manycc.testing.fileview import Tree


def test_headers_that_were_replaced_are_let_go(tmp_path: object) -> None:
    tree = Tree(f"{tmp_path}/tree", {"a.c": '#include "own.h"\n', "own.h": ""})
    client = Client(tree)
    for edit in range(30):
        tree.write("own.h", "//" + "x" * edit + "\n")
        client.collect("gcc", "-c", "a.c")
    (closures,) = client.collector._closures.values()
    assert not [node for node in closures._reaches if node.entry.stale]


def pointers(client: Client) -> int:
    """How many dependents are noted, in all."""
    (closures,) = client.collector._closures.values()
    resolver = closures.resolver
    results = [resolver._base, *resolver._lookups.values(), *resolver._own_lookups.values()]
    count = sum(len(result.dependents) for result in results)
    count += sum(len(entry.dependents) for entry in client.view._files.values())
    folders = client.view._folders.values()
    return count + sum(len(answer.dependents) for folder in folders for answer in folder.answers.values())


def test_edits_of_a_common_header_leave_nothing_behind(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "_SWEEP_AFTER", 100)
    sources = [f"a{number}.c" for number in range(10)]
    names = ["common.h", *(f"h{number}.h" for number in range(8))]
    includes = "".join(f'#include "{name}"\n' for name in names)
    files = {name: f"{includes}// {name}\n" for name in sources} | {name: f"// {name}\n" for name in names}
    client = Client(Tree(f"{tmp_path}/tree", files))
    counts = []
    for edit in range(40):
        client.tree.write("common.h", "//" + "x" * edit + "\n")
        for name in sources:
            client.collect("gcc", "-c", name)
        counts.append(pointers(client))
    assert counts[-1] < 3 * counts[1]


def test_sets_are_kept_beside_one_that_is_too_large_alone(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """To let go of small sets makes no room: each is made anew each time that it is its turn."""
    files = {f"wide/h{number}.h": f"int h{number};\n" for number in range(400)}
    files["big.c"] = "".join(f"#include <h{number}.h>\n" for number in range(400))
    for number in range(2):
        files[f"s{number}/own.h"] = f"int own{number};\n"
        files[f"c{number}.c"] = f"#include <own.h>\nint c{number};\n"
    client = Client(Tree(f"{tmp_path}/tree", files))
    monkeypatch.setattr(collect, "_MAX_RESULTS", 300)
    made: list[str] = []

    def count(resolver: Resolver) -> Closures:
        made.append(resolver.search[0])
        return Closures(resolver)

    monkeypatch.setattr(collect, "Closures", count)
    for _ in range(5):
        for number in range(2):
            client.collect("gcc", "-Iwide", "-c", "big.c")
            client.collect("gcc", f"-Is{number}", "-c", f"c{number}.c")
    assert len(made) <= 6  # three sets
