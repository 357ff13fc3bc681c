"""How many files may be kept open."""

from __future__ import annotations

import resource

# Left for everything else that has descriptors.
_SPARE_DESCRIPTORS = 64


def budget(wanted: int) -> int:
    """Raise the soft limit of open files as far as it is needed and allowed."""
    if wanted <= 0:
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = wanted + _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return (
        wanted if soft == resource.RLIM_INFINITY else max(0, min(wanted, soft - _SPARE_DESCRIPTORS))
    )
