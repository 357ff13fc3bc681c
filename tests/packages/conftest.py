"""The fixtures of the bare machines."""

from tests.fresh.conftest import machine as machine
from tests.fresh.conftest import say as say
