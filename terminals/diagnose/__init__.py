"""The field command's engine: what is wrong between this plug and the meter behind it. Needs no store."""
