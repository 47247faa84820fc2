"""What one node holds: its own copies, its trees over them, and hints for others.

§4.3             a node's own copies                     replica.py (what it remembers: overwritten.py)
                 who holds a key now                     preference_list.py
                 pages of keys, for who lists them all   scans.py
§4.6             hints                                   hints.py
                 when they take too much room            eviction.py
§4.7             trees that are kept equal to the rows   trees.py
§4.5             marks that could not be stored yet      marks.py
§4.4             what may be forgotten of a state        collectable.py
                 what an old disk has taken              rescue.py
"""
