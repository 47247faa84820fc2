"""The process that starts a cluster's nodes, watches them, and does what is asked.

supervisor.py            its loop and its verbs
children.py back_off.py  one node under supervision; when it is started again
monitor.py               what it sees of the nodes beyond their processes
"""
