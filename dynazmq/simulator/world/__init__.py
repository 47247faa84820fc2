"""Time, chance, network and disks, all from one seed.

world.py    time, chance, the record of what happened
network.py  frames that are late, lost, doubled, garbled, overtaken; links that are cut, clogged or bad
shapes.py   the shapes in which a network falls apart
disk.py     what can befall a disk
"""
