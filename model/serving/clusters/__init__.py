"""Files that start a model on the nodes of Slurm, Ray, Kubernetes, or by docker compose."""
