"""What fits, and what it costs: the arithmetic of weights, cache, bandwidth and prices."""
