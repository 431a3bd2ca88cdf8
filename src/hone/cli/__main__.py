"""`python -m hone.cli` is the `hone` command."""

import sys

from hone.cli import main

sys.exit(main())
