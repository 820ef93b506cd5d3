"""The mode of a sample: the wish in words, the votes, and the text of the judge."""
