"""``python -m bench.lab``, or ``python bench/lab``: see ``cli``."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from lab.cli import main

sys.exit(main())
