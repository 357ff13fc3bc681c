"""Witnesses: processes for which a claim about rules can be seen to be true."""
