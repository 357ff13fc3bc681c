"""Compile time: what systemd and logind know of this host's units and sessions."""
