"""Settings of other tools, said in sentences: what ``oomrules import`` does.

``sources`` reads files and ``recognition`` says which tool each is for. One module a tool
(``earlyoom``, ``nohang``, ``oomd``, ``ananicy``, and ``units`` for what this host's systemd says)
makes ``translation.Piece`` records: a setting, where it stands, and the sentences or the reason why
there are none. ``rulefile`` writes the rule file.
"""
