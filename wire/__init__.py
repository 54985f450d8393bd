"""What stands between processes: failures and their statuses, partitions, signal batches, positions, frames, routes."""
