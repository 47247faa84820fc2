"""What snapshots and the minute before them add up to: the Model that all panels draw.

model.py trends.py       the value; how it is made from one snapshot after the other
recovery.py coverage.py  the life of one outage; what it means for the partitions
faults.py                which faults are on, and who cannot hear whom
load.py                  the load that checks its own writes
"""
