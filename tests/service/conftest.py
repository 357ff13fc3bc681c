"""The fixtures of the service's tests."""

from tests.accounts.directory import accounts_of, directory_library
from tests.service.daemon import serve

__all__ = ["accounts_of", "directory_library", "serve"]
