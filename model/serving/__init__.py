"""Serving models: sized, started, watched, given adapters, and read by vLLM through a plugin."""
