"""Scenarios of running out of memory: whom the rules want killed, and who was."""
