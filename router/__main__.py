"""`python -m router` is the same as the console script `mirrorgate`."""

import sys

from router.main.cli import main

sys.exit(main())
