"""Independent oracles: what the tests hold the package against."""
