"""Looking at the data directory of a stopped Hearth and putting it right: its partitions, and the files beside them."""
