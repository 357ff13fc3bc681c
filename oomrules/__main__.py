"""``python -m oomrules``."""

import sys

from oomrules.commands.main import main

sys.exit(main())
