"""Who plays the assistant's own loop by what is known to be right."""
