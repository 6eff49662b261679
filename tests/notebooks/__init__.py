"""The notebooks, the demonstration and the pictures of the README."""
