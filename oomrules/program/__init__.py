"""The rules as plain data: a program, and its nodes' evaluation. Standard library only."""
