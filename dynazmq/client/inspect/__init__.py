"""Looking closely at one key: `explain`, and the timeline of one request.

looking.py               what explain and the traces do, once for both faces
looked.py                what one node told, read into values
explain.py explained.py  from what nodes told to an Explanation; that value
healing.py               what will make the copies equal, and when
trace.py traced.py       from the points that nodes noted to a timeline; that value
"""
