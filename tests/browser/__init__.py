"""Pictures in a real browser, Debian's chromium without a screen (`make test-picture`)."""
