"""What the stages share: artifacts on disk, base models, metrics, scoring and reports."""
