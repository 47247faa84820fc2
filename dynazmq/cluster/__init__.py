"""Supervision of a local cluster: starting, watching and ending its processes, and one snapshot of all that can be seen."""
