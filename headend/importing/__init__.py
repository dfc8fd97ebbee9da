"""Files of readings in, one file a format; all of them end in the one door of the store."""
