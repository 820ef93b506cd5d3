"""Where the agent works: files, edits, tests, git."""
