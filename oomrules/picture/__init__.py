"""A host's memory drawn: which unit and process holds it, and in which order it would be taken."""
