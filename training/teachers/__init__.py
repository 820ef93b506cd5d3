"""What a teacher says of texts: its likeliest tokens at each position, stored once and read often."""
