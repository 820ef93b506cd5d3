"""What is said of a line that is wrong."""
