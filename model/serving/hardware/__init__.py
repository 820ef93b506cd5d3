"""What a machine has: GPUs, memory, cores; and what is known of types of GPU."""
