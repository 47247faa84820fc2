"""What the paper computes with: values and functions of values, which know no node, message or time.

§4.2 §4.3 §6.2   partitioning, preference lists          ring.py
§4.9 §6.2        who owns what as members come and go    claim.py
§4.4             versions, contexts                      versions.py
§2.3             buckets where the last write wins       lww.py
§4.5             counting replies                        quorum.py
§4.7             hash trees                              merkle.py
"""
