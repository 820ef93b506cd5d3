"""Shell command lines: which commands they would run, and what may be said of them."""
