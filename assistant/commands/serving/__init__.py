"""The parts of `kat serve`."""
