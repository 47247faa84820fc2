"""A cluster's directory: how it is made, what is in it, whose it is, and what may be removed of it.

creation.py ground.py       making one; what it needs of its file system
ownership.py succession.py  whose it is; whether it is still the same cluster
state.py orphans.py         the supervisor's lock and state; what an earlier one left
roster.py staging.py        who belongs; changes that are planned and not committed
faults.py                   which faults are on
removal.py rebuild.py       the one place that deletes; a node that gets an empty disk
"""
