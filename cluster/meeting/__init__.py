"""The page for a CVM team's meeting: what it brought, in pictures. Needs what the extra `report` installs."""
