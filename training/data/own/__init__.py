"""What became of the user's own sessions, and how they are cleaned."""
