"""What ``oomrules run`` becomes: a bare interpreter that imports nothing but what stays.

It runs as a file, isolated and without site-packages (-I -S -E), so it finds its package itself.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

try:
    from oomrules.service.main import main
except MemoryError:
    sys.exit("oomrules: out of memory before it began; is LimitDATA= too low?")

sys.exit(main())
