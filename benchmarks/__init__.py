"""`make bench`: Fiducial beside its peers, on this machine, in one run (docs/developer.md).

Only ratios within one run mean something: machines differ, and this one may be busy. The client is plain sockets with
messages encoded beforehand, faster than any server; peers run with their best settings and TCP_NODELAY=1.
"""
