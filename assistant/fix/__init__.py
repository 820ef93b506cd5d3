"""Finding out what fails, having it mended in a copy, and proving that it is."""
