"""The console: one page for the duty engineer. It reads; what it does, it does by REST with a person's key."""
