"""Models as they are trained: loaded, grown in depth, with adapters and modules for multi-token prediction."""
