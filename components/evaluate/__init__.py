"""Judge every variant of a model on the held-out rows."""
