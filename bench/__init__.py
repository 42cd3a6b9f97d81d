"""The benchmark: Lading beside registry:2 and a static nginx, on this machine, in one run.

``python -m bench`` (``make bench``) measures and prints; it never judges, so that no test depends on a clock.
"""
