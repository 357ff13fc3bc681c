"""Processes, from /proc, BPF or a recording: a snapshot. Standard library only."""
