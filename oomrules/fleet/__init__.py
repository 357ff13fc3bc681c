"""Rules over many recorded hosts: read where they lie, judged side by side, folded as they come.

recordings.py    names, folders and addresses -> recordings, each of them bounded
questions.py     what is asked of one host: plain data in, plain data out
running.py       the same question for every host, by Dask or in this process
folding.py       the answers of all hosts -> a few figures with a witness
expectations.py  what `fleet test` expects of every host
redaction.py     a recording -> the same without its names, which rules judge alike
pseudonyms.py    names and ids that rules cannot tell from others
"""
