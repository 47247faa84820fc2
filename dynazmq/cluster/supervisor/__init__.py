"""The process that starts a cluster's nodes, watches them, and does what is asked.

    supervisor.py               its loop and its verbs
    children.py restarts.py     one node under supervision; when it is started again
    watching.py                 what it sees of the nodes beyond their processes
"""
