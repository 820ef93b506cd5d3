"""KAT's language, and how to get a reply from a served or embedded model."""
