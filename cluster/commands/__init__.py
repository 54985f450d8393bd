"""One module per command of `hearth`; each is called by cluster/command_line/ with its options already parsed."""
