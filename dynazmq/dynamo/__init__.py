"""The Dynamo paper (DeCandia et al., SOSP 2007) as a pure state machine: no socket, file, thread, clock or global randomness.

A driver, the server's loop or a simulator, owns the world and calls `Node.tick`, `Node.receive`, `Node.drain` (node.py). The map:

    values/        §2.3 §4.2 §4.4 §4.5 §4.7   the ring, versions, quorums, hash trees: values, and functions of them
    messages/                                 every message, declared once
    membership/    §4.8 §4.9                  who belongs, who is reachable, and how the ring changes
    replica/       §4.3 §4.6 §4.7             a node's own copies, its trees over them, and hints for others
    coordinator/   §4.5 §4.6                  the life of a put, of a get; retried puts; writes to old and new owners
    repair/        §4.4 §4.7 §4.9             how copies become equal, move, and forget
    runtime.py                                all that a technique may touch
    node.py                                   the wiring: from messages to techniques
    admin.py looking.py                       what a node is asked beside keys; what it tells of one key to who looks

Each of these has a map of its own. A package knows only those above it.

*Promise 4*, W12 or I5: such numbers, here and in all of the repository, are those of docs/failure-model.md.

The path of a put. Whatever stands below a commit leaves the node only after it.

    client ── Put ──▶ Node.receive ─▶ Forwards.on_put ─▶ Puts.admit          limits, policy, context, enough reachable nodes?
                                          ├─ not one of the key's reachable N: Forwards._next ── Put, hops+1 ──▶ a primary
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
