"""The command that starts a server, and what must be there before: an engine, weights, a place to listen."""
