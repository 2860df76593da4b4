"""Publish a promoted model under an immutable version."""
