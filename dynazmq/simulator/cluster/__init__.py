"""Real nodes and real client cores in that world, and what is watched of them at every step.

process.py  one node's life: the loop of server.py, crashed at any point of a turn
client.py   the real client's core in virtual time (listing.py: as it lists all keys)
cluster.py  all of it together: what stories are told with
handle.py   one node, as a story speaks of it
history.py  what clients asked and were told, and every dot that was given
watch.py    promises that are checked at every commit, answer and turn (presence.py: of what is told to be absent)
judge.py    what a history proves of an answer, and of what is stored in the end
"""
