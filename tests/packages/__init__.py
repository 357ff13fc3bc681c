"""Packages, built and tried in bare Debian machines: `make test-deb`."""
