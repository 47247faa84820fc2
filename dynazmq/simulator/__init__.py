"""A whole cluster in one thread, from one seed: the real nodes on a virtual network, clock and disk.

    world/      time, chance, network and disks
    cluster/    real nodes and real client cores in it, and what is watched of them at every step
    run/        runs that are drawn from seeds: load, faults, members who come and go, peace, and the verdict
    mutants/    known bugs to be built in: checkers that find nothing must be able to

Each of these knows only those above it.

`dynazmq simulate --seed SEED` runs one seed again and tells what happened.
"""
