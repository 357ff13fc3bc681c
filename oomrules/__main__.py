"""``python -m oomrules``."""

import sys

from oomrules.commands.main import main

# The workers of `oomrules fleet` load this module too, under another name.
if __name__ == "__main__":
    sys.exit(main())
