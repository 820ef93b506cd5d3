"""What `kat doctor` looks at: this machine, and an engine by using it."""
