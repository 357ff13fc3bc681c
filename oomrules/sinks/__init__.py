"""Where the kernel finds the candidates. Standard library only."""
