"""Pure decisions about commands: the order's states and the gates before a trip. Imports nothing but the standard library."""
