"""All that can be seen of a cluster at one moment, and what changed between two.

asking.py observe.py        asking nodes; the whole cluster at one moment
snapshot.py node_health.py  the value that this is; how each node's state is judged
changes.py events.py        what changed, as events; the stream that keeps them
rates.py metrics.py         rates and percentiles; the text format of Prometheus
verify.py comparison.py     what nodes hold, read and compared
"""
