"""What the project is measured against: this project's own faithful implementations, to be read on their own."""
