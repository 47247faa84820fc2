"""The Dynamo paper (DeCandia et al., SOSP 2007) as a pure state machine: no socket, file, thread, clock or global randomness.

A driver, the server's loop or a simulator, owns the world and calls `Node.tick`, `Node.receive`, `Node.drain` (node.py). The map:

    §4.2 §4.3 §6.2   partitioning, preference lists          ring.py
    §4.9 §6.2        who owns what as members come and go    claim.py
    §4.4             versions, contexts                      versions.py
                     forgetting tombstones, dead actors      retirement.py (what may be: retirable.py)
                     old disks that are put back             vouches.py   rescue.py
    §2.3             buckets where the last write wins       lww.py
    §4.5             counting replies                        quorum.py
    §4.5             the life of a put; of a get             put.py   get.py (ending in read repair)
                     who coordinates a put; retried puts     forward.py   recall.py   elsewhere.py
                     puts that are marked as retried         marking.py   marks.py
    §4.3             a node's own copies                     replica.py (what it remembers: overwritten.py)
                     pages of them, for who lists all keys   scans.py
    §4.6             the first N reachable nodes; hints      routing.py   hints.py
                     when they take too much room            eviction.py
    §4.7             trees; kept equal to the rows           merkle.py   trees.py
                     comparing them, shipping what differs   anti_entropy.py   exchange.py   answers.py
    §4.8             members, policies, and their ring       membership.py (as they travel: records.py)
                     how a cluster begins; what holds of     founders.py   in_force.py
                     its policies
                     how all nodes come to know them         gossip.py
    §4.8.3           who is reachable                        failure.py
    §4.9             how members come and go, step by step   change.py
                     who is removed by force, and by whom    expulsion.py
                     writes to old and new owners            joint.py
                     keys come to a new owner; leave an old  transfer.py   handover.py
                     names under which dots are issued       identity.py
                     how long things take, for hedging       stats.py
                     what is told of one key to who looks    looking.py
                     what else a node is asked and told      admin.py
                     when a decision is acknowledged         decisions.py
                     every message, declared once             messages/
                     what a technique may touch; its wiring  runtime.py   node.py

*Promise 4*, W12 or I5: such numbers, here and in all of the repository, are those of docs/failure-model.md.

The path of a put. Whatever stands below a commit leaves the node only after it.

    client ── Put ──▶ Node.receive ─▶ Forwards.on_put ─▶ Puts.admit          limits, policy, context, enough reachable nodes?
                                          ├─ not one of the key's reachable N: Forwards._next ── Put, hops=1 ──▶ a primary
                                          ├─ a retry: Recalls.begin ── Recall ──▶ replicas: is it done already?
                                          │    (of a large value there comes a PutAsk first: Forwards.on_put_ask)
                                          └─ Puts.write                      versions.put: the new dot
                                               └─ Puts.replicate             Replica.store: the own copy
    ─────────────────────────────────── commit ───────────────────────────────────
               coordinator ── Write ──▶ replica: Replica.on_write ─▶ versions.sync, or Hints.keep
    ─────────────────────────────────── commit (of the replica) ──────────────────
               coordinator ◀── WriteReply
                     Puts.on_write_reply ─▶ Quorum.answer ─▶ at W: Puts._reply ── PutReply ──▶ client
                     Puts._overdue, Puts.on_refused ─▶ Puts._stand_in        a fallback, or this node, keeps a hint

The path of a get.

    client ── Get ──▶ Node.receive ─▶ Gets.on_get ─▶ Gets._ask               the own copy first: Replica.read
               coordinator ── Read ──▶ R replicas: Replica.on_read
               coordinator ◀── ReadReply
                     Gets._overdue                                           a slow one is hedged: one more is asked
                     Gets._answered ─▶ Quorum.answer ─▶ at R: Gets._repair   versions.sync of all answers
                                          ├─ Gets._reply ── GetReply ──▶ client
                                          └─ Write ──▶ whoever answered with less
"""
