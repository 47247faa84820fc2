"""Chaos on real processes, judged: `dynazmq verify --chaos`.

clients write and read, and all that they ask and are told is recorded
  beside them faults, and members who come and go, drawn from a seed
    then peace: all is healed, the cluster comes to rest, and what is stored is held against what clients were told

plan.py        which fault comes next, whom it hits, for how long: pure
hands.py       the verbs with which that is done to a cluster
members.py     changes of the members, each in a thread of its own
nemesis.py     does the plan, and knows what it has to undo
record.py      what clients asked and were told; the longest time without a success
load.py        the clients
evidence.py    what is stored in the end: the state of each key at each node, and what `verify --deep` finds
resources.py   memory and descriptors of the nodes, seen from outside
verdict.py     the verdict; what a history proves is the simulator's to say (simulator/cluster/judge.py)
story.py       on a failure: the shortest history of a key, and what the nodes logged meanwhile
report.py      the verdict as a document and in words
interrupts.py  Ctrl-C while something must be undone
fresh.py       a cluster to be thrown away
users/         the abuse by users beside the faults: --users
run.py         one run from beginning to end
"""
