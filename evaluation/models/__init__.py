"""Networks and descriptors that only metrics use."""
