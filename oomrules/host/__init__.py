"""Compile time: what systemd, logind and the cgroup tree know of this host.

pydbus and cgroupspy are imported here and nowhere else. What is found out becomes plain
data (``oomrules.runtime.facts``) for the run-time half.
"""
