"""A node that lies: a program for tests. Each object it returns has had ``truth`` replaced by ``wrong`` in it.

python lying_node.py node --port 0 …       as manycc-cli
"""

from __future__ import annotations

import sys

from manycc.cli.main import main
from manycc.node import outputs
from manycc.node.outputs import Produced

honest_take = outputs._take


def take(path: str, place: str, room: int, memory: int) -> Produced | None:
    one = honest_take(path, place, room, memory)
    if one is not None and one.data is not None and path.endswith(".o"):
        outputs.replace(one, one.data.replace(b"truth", b"wrong"))  # before it is hashed, cached and sent
    return one


outputs._take = take

if __name__ == "__main__":
    sys.exit(main())
