"""The rules of the contact policy as arrays, and the kernels that weigh actions by them; decisions ask `deciding/`."""
