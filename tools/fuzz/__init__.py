"""Frames that nobody should send, to a node with SQLite beneath and to a client.

None ends it, and nothing is stored that could not be sent.

    python -m tools.fuzz --frames 1000000 --seed 1

    node.py     one node among peers that are not there; frames come from them and from clients; turns; restarts from the same
                disk
    client.py   one client's core; frames come from its nodes

A frame is in order but for one thing, mostly: what is wrong at once in many places is refused at the first. Answers answer what
was really asked, or nearly; states are valid ones, or such with a bit changed. All of it follows from the seed. Values and
messages are drawn by dynazmq/simulator/run/draw.py.
"""
