"""What people do with a whole cluster, from outside of its supervisor.

launch.py readiness.py  up and down; ready means ready
rolling.py              one node after the other
members.py plan.py      who belongs; what a change would come to
copies.py               a directory that was copied
checkup.py              what is wrong, or may become so
"""
