"""Calls that are run line by line, and what is told of them."""
