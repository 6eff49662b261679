"""One run from the workers of an engine: each module is thin, and loads its engine only when it is imported."""
