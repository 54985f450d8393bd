"""What the log holds, as tables for other tools."""
