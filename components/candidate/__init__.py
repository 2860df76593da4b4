"""Train one candidate of a sweep; a candidate that crashes is a result, not a failure."""
