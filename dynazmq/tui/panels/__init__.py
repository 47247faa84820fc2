"""Model in, lines out: every part of the picture. Pure.

screen.py layout.py    all parts together; where they are
bars.py                the lines at the edges: header, faults, keys
table.py matrix.py     the nodes; who sees whom
panels.py hints.py     is my data served; hints that wait
cards.py transfers.py  an outage and its stages; a change of the members
strip.py               the ring, and what has happened
views.py               whole screens about one thing (node_view.py: a node; debts.py: what replicas owe each other)
"""
