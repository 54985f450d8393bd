"""Who may do what: identities, roles, limits for each caller, and the audit log."""
