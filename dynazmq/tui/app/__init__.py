"""The Textual application, its threads and its keys.

console.py stage.py   each key becomes a view or an action; pictures become widgets
acting.py pages.py    what keys ask of the cluster; questions that lie over the picture
poller.py details.py  the threads that look at the cluster, at one node or key
player.py             a recording in the poller's place
once.py save.py       one frame for a pipe; the screen as a file
"""
