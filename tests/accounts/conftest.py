"""The fixtures of tests about names."""

from tests.accounts.directory import accounts_of, directory_library

__all__ = ["accounts_of", "directory_library"]
