"""The client: sync and async faces over one routing and retry core.

core.py is the mechanism, pure; flows.py says what each call does, stream.py does any number of them; links.py has the sockets;
sync.py (with leading.py) and asynchronous.py (with event_loop.py) drive them.
"""
