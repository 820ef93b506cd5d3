"""Servers that run: started, watched, started again, ended, found and described."""
