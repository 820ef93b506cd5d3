"""What keeps the user safe: sandbox, permissions, sanitising."""
