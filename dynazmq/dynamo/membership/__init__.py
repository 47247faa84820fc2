"""Who belongs to the cluster, who is reachable, and how the ring changes.

§4.8             members, policies, and their ring       membership.py (as they travel: records.py)
§4.8.2           how a cluster begins                    founders.py
                 what holds of the ring and of policies  in_force.py
§4.8.1           how all nodes come to know them         gossip.py
§4.8.3           who is reachable                        failure.py
§4.9             how members come and go, step by step   change.py
                 who is removed by force, and by whom    expulsion.py
                 partitions of which no copy is left     losses.py
                 when a decision is acknowledged         decisions.py
§4.4             names under which dots are issued       identity.py
                 old disks that are put back             stale_disks.py
"""
