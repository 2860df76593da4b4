"""Look at everything that a run needs before a GPU node is started for it."""
