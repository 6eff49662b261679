"""All that ends a delivery: failing sources and stores, broken replies, kills, and generated sequences of them."""
