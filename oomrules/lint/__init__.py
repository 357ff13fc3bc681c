"""The linter: what is wrong with rules that are well formed.

``language`` finds the errors that make rules unusable. The checks here look for what is surely
not meant, one kind of mistake for each code. Only ``check`` loads them.
"""
