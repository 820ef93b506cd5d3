"""What may not be trained on is refused, or taken out."""
