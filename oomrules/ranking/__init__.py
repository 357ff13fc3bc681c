"""A program on a snapshot: candidates, worst first. Standard library only."""
