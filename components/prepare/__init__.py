"""Turn pinned files into validated, split and tokenised tables."""
