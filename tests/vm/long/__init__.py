"""Long runs, of targets of their own: `make churn`, `make storm`."""
