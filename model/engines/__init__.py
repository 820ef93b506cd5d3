"""The engines: `http`, `chat`, `embedded` and `scripted`."""
