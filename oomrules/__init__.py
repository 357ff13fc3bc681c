"""oomrules: sentences in, an ordered list of OOM victims out.

The package has two halves. ``oomrules.language`` is compile time: it parses and
checks rule files and makes a program. ``oomrules.program`` to ``oomrules.sinks`` is run
time: standard library only, it loads a program, reads processes, ranks and emits them.
``oomrules.commands`` is the command line and may use both.
"""

__version__ = "0.2.0"
