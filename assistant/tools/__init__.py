"""The tools: one class a tool, one registry."""
