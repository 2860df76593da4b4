"""Fine-tune a Hugging Face encoder into a classifier."""
