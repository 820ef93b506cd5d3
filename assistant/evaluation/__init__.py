"""Measures how well tasks are solved with thinking chosen, always and never, and what it costs."""
