"""``python -m manycc.cli``: what the ``manycc-cli`` script does, where there is no script."""

import sys

from manycc.cli.main import main

sys.exit(main())
