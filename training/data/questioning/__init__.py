"""Questions on code, and diffs to review, whose answers are known."""
