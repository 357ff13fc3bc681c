"""Stand-ins for what the run-time half needs of ``typing``.

``typing`` and what it loads take 0.7 MiB of a process that has to be small when memory
runs out. Type checkers see the real ones.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as Any
    from typing import NamedTuple as NamedTuple
    from typing import Protocol as Protocol
else:
    Any = Protocol = object

    class _Maker(type):
        """Makes a named tuple of a class with annotations, as ``typing.NamedTuple`` does."""

        def __new__(cls, name, bases, namespace):
            if not bases:
                return super().__new__(cls, name, bases, namespace)
            fields = list(namespace["__annotations__"])
            defaults = [namespace.pop(field) for field in fields if field in namespace]
            made = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])
            for key, value in namespace.items():
                setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """A tuple with named fields."""
