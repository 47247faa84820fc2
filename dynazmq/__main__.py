"""`python -m dynazmq`: the command line."""

from dynazmq.cli import leave, main

leave(main())
