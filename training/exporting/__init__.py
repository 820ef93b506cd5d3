"""What comes of a run: adapters, merged weights and drafters, in the forms that engines load."""
