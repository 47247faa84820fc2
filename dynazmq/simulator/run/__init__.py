"""Runs that are drawn from seeds: load, faults, members who come and go, peace, and the verdict.

simulation.py  one seed from beginning to end
workload.py    clients that read and write at random
faults.py      what goes wrong
admins.py      members who come and go (decisions.py: what is wanted; ends.py: how it comes to its end)
checker.py     promises that are checked when the faults are over
campaign.py    many seeds, what they saw, and what they never did
shrink.py      from a seed that fails to the least that still does
contrast.py    the same seeds with siblings and with last write wins
draw.py        values and messages made from the declarations: admitted, at their edges, beyond them
"""
