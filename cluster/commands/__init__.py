"""One module per command of `hearth`; each is called by cluster/cli.py with its options already parsed."""
