"""Tests that administrators write for their rules: ``oomrules test``."""
