"""One request of a client, from its message to its answer.

§4.5 §4.6        the life of a put; of a get             put.py (what it knows: put_op.py)   get.py
§4.5             who coordinates a put                   forward.py
                 retried puts                            idempotent_retry.py   suspected_retries.py
                 puts that are marked as retried         marking.py
§4.9             writes to old and new owners            dual_ownership.py
                 what is under way, and its bytes        operations.py
§6               how long things take, for hedging       stats.py
"""
