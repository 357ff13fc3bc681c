"""Users and groups by name: the host's own files, and whatever nsswitch.conf(5) names."""
