"""`python -m dynazmq`: the command line."""

import sys

from dynazmq.cli import main

sys.exit(main())
