"""A shard: some partitions behind one server, their questions and their deliveries."""
