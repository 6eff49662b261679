"""What several test files share: deliveries, readers, keyrings, children. Nothing here is a test."""
