"""Collecting is closing gaps: plans say what must exist, the store says what does, the difference is the work."""
