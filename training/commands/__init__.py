"""The commands of `kat train`. Nothing here is imported before it is used: a start of `kat` does not wait for it."""
