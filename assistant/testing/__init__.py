"""The tests of a repository: how they are run, and what came of each."""
