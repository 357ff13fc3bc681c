"""Run a command in a fresh guest: `python -m tests.vm 'oomrules rank'`.

Without a command: make the guest, or say why it cannot be had.
"""

from __future__ import annotations

import sys

from tests.vm import states
from tests.vm.host import NoGuest
from tests.vm.machine import GuestError


def main() -> int:
    """Run it."""
    try:
        guest = states.guest()
        with guest:
            if not sys.argv[1:]:
                return 0
            result = guest.run(" ".join(sys.argv[1:]), timeout=600)
    except (NoGuest, GuestError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 2
    sys.stdout.buffer.write(result.stdout_bytes)
    sys.stdout.flush()
    sys.stderr.buffer.write(result.stderr_bytes)
    return result.status if result.status >= 0 else 128 - result.status


if __name__ == "__main__":
    sys.exit(main())
