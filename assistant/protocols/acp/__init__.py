"""The Agent Client Protocol: editors as front ends."""
