"""Pipelines assembled from the components, and the command line that runs them."""
