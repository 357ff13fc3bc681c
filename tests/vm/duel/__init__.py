"""Storms of memory in a guest: who keeps it usable, and who dies for that.

contenders   the kernel alone, other daemons, oomrules: each with its settings
storms       the ways in which memory runs out, and who else is there
stage        plays one storm under one contender, and says what came of it
table        what came of it, as a page
"""
