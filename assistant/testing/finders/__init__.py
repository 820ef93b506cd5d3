"""Finders of test commands: what the files of a project say about how its tests run."""
