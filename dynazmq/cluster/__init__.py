"""Supervision of a local cluster: starting, watching and ending its processes, and one snapshot of all that can be seen.

    processes.py   processes and who they are
    directory/     what is on disk: how it is made, whose it is, what may be removed
    control.py     the supervisor's socket
    observe/       all that can be seen, and what changed
    supervisor/    the process that starts the nodes, and does what is asked
    operations/    what people do with a whole cluster, from outside

Each of these knows only those above it.
"""
