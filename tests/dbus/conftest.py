"""The fixtures of these tests."""

from tests.dbus.buses import listen

__all__ = ["listen"]
