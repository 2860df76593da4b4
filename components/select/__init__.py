"""Choose among the candidates of a sweep."""
