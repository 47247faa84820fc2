"""The abuse by users that `verify --chaos --users` adds beside the faults: by mistake or not, nothing of it may hurt the cluster.

    plan.py          which kind begins when, and for how long: drawn from a seed, pure
    tally.py         what was tried how often, as figures and in words
    speaker.py       a raw client: it says what it likes, and reads what it likes
    readers.py       clients that ask for many large values and read few of the answers or none
    connections.py   many short-lived clients; connections that are held open, half open, or begin with noise
    garbage.py       frames that are no messages, and messages that are nearly in order
    bursts.py        far more requests at a time than a node takes
    large.py         large values, by the product's own client: recorded and judged as everything else
    stage.py         plays all these but the last, step by step, in one thread and within a part of a core
    __main__.py      their process
    beside.py        that process, from outside

All but the large values come from a process of its own, at a low priority: clients whose calls are recorded must not time out
because this one has no time for them. It ends when its time is over, when it is told to, and when nobody reads what it tells.

None of it may touch what others have stored. What it writes goes to the bucket `dynazmq.chaos.users`, where the last write wins
so that it stays small; frames that a node might follow with a decision, or with a write elsewhere, are never sent (garbage.py).
Nobody takes a peer's identity: who can do that is no user.
"""
