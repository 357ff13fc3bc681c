"""The README's two commands on bare Debian machines, as a newcomer has them (`make test-fresh`)."""
