"""The log: its contract, the embedded one of segment files and the one on Kafka, reading and repairing them."""
