"""A whole cluster in one thread, from one seed: the real nodes on a virtual network, clock and disk.

    world.py       time, chance, the record of what happened
    network.py     frames that are late, lost, doubled, garbled, overtaken; links that are cut, clogged or bad
    shapes.py      the shapes in which a network falls apart
    disk.py        what can befall a disk
    process.py     one node's life: the loop of server.py, crashed at any point of a turn
    client.py      the real client's core in virtual time
    cluster.py     all of it together: what stories are told with
    handle.py      one node, as a story speaks of it
    history.py     what clients asked and were told, and every dot that was given
    watch.py       promises that are checked at every commit, answer and turn
    judge.py       what a history proves of an answer, and of what is stored in the end
    checker.py     promises that are checked when the faults are over
    workload.py    clients that read and write at random
    faults.py      what goes wrong, drawn from the seed
    admins.py      members who come and go, drawn from the seed
    decisions.py   what admins want, told to nodes
    ends.py        who has left is ended, and what admins have begun is seen through
    simulation.py  one seed from beginning to end
    campaign.py    many seeds, what they saw, and what they never did
    shrink.py      from a seed that fails to the least that still does
    mutants/       known bugs to be built in: checkers that find nothing must be able to
    draw.py        values and messages made from the declarations: admitted, at their edges, beyond them
    contrast.py    the same seeds with siblings and with last write wins: what each loses

`dynazmq simulate --seed SEED` runs one seed again and tells what happened.
"""
