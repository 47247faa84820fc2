"""`python -m dynazmq`: the command line."""

from dynazmq.cli import command

command()
