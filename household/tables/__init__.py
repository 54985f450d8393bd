"""What the fold remembers beside features: tables of columns under one contract, one file each.

`household.tables.contract` says what a table is; the files named for what they hold declare one each; `all_tables`
lists them.
"""
