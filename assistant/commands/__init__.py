"""The commands of `kat`, one module each."""
