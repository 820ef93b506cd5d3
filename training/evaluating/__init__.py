"""Before and after: held-out tasks tried by two models, and what the tries say."""
