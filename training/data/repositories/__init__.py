"""Repositories as data is made from them: fetched, with an environment, checked out, their tests run."""
