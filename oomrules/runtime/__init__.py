"""Run time: load a program, read processes, rank, emit. Standard library only."""
