"""A real Debian in a QEMU guest, for tests that need systemd, cgroup v2 and real OOMs."""
