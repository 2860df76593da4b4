"""Compare a prepared data set with the one that the champion learned from."""
