"""Asking a model for data: questions, many at a time, replies that are kept, and what they are worth."""
