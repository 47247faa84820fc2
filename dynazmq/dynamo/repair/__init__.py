"""How copies become equal, come to new owners, leave old ones, and forget what nobody needs.

§4.7             comparing trees, shipping differences   anti_entropy.py   exchange.py
                 the side that is asked                  responder.py
§4.9             keys come to a new owner                transfer.py
                 keys leave an old one                   handover.py
                 what is left when all owners are gone   salvage.py
§4.4             forgetting tombstones and dead actors   tombstone_gc.py
"""
