"""Generated input, steered by what it reaches."""
