"""The kinds of features: what each keeps, how it is updated, read and combined, and how a playbook writes it."""
