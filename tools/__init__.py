"""Measurements that anybody can repeat from a checkout: `python -m tools.NAME`. docs/ shows what they print."""
