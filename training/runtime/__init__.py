"""What every stage of training runs on: devices, sharding, the loop, checkpoints, metrics, the run's folder."""
