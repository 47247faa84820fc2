"""The two faces, blocking and asynchronous, and the sockets below them.

sync.py shared_connection.py   the blocking client; how its threads share the sockets without a thread for it
asynchronous.py event_loop.py  the same calls, to be awaited; the sockets on the caller's event loop
links.py                       a DEALER for each node, for both
green.py                       programs on gevent
"""
