"""Where a fault may lie: tracebacks, coverage, names and recent changes, and one ranking made of them."""
