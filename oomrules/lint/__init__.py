"""The linter: what is wrong with rules that are well formed.

``language`` finds what makes rules unusable. The checks here look for what is surely not
meant, one kind of mistake for each code. They are loaded by ``check`` alone.
"""
