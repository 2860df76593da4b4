"""Fetch exactly the pinned bytes of a data set."""
