"""Who was killed: the kernel's log, and the journal's entry. Standard library only."""
