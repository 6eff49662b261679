"""What counts as a frame, and what becomes of it."""
