"""`python -m router` is the same as the console script `mirrorgate`."""

import sys

from router.cli.main import main

sys.exit(main())
