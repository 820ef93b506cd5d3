"""Folders of tasks: what they hold, how many of them are worked on, and what comes of each."""
