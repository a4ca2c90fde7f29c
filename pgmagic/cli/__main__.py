"""`python -m pgmagic.cli`: the `pgmagic` command of this very Python."""

from __future__ import annotations

import sys

from pgmagic.cli.main import main

sys.exit(main())
