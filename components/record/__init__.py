"""Keep the result of a run where those who submitted it find it."""
