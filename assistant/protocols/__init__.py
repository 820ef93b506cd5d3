"""How events leave the process: text for people."""
