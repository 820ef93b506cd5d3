"""What a run takes of memory and time, reckoned from the model's shape before anything is loaded."""
