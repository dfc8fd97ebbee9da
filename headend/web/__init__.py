"""The console: one read-only page for the duty engineer."""
