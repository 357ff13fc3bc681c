"""What `oomrules init` finds out about a host, what it proposes, and the links that it writes."""
