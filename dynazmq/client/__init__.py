"""The client: sync and async faces over one routing and retry core.

    values/    what goes into a call and comes out of it
    core/      which node gets a request, for how long, and who is next: pure
    inspect/   looking closely at one key
    api/       the faces, and the sockets that serve them

Each of these knows only those above it.
"""
