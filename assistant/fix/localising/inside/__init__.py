"""What is run inside the sandbox, by the repository's own Python, to see which lines each test runs."""
