"""The client without its sockets: routing, attempts and deadlines. Pure, as the node is.

core.py                  which node gets a request, for how long, and who is next
requests.py outcomes.py  one request under way; what its caller is told
routes.py learning.py    whom to ask, best first; how the cluster comes to be known
window.py                how much is under way at a time
flows.py                 what each call of a bucket does
stream.py scan.py        any number of items; the keys of a bucket
best_effort.py           a read for somebody who writes next
"""
