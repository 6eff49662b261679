"""What can be run to see the library at work."""
