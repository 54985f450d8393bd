"""Reading files, and what a mapping makes of them."""
