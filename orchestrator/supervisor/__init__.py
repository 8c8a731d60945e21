"""`manage.py up`: starts every process of Fiducial on one machine, keeps it running, and ends it cleanly.

Knows nothing of Django but in `fleet`, which reads the settings. Linux only (pidfd, /proc, abstract sockets).
"""
