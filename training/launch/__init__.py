"""Files that start a recipe on many GPUs: accelerate's configuration, a Slurm script."""
