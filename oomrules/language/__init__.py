"""Compile time: rule files become a checked program (plain data).

The data flows through these modules in order: ``rulefiles`` finds the files, ``parser`` turns
text into ``syntax``, ``checker`` resolves names and types, ``compiler`` makes the program. Each
may add ``diagnostics``; ``syntax_help`` and ``type_help`` say what to do about a mistake.
"""
