"""Q/GDW 376.1-2009 and 1376.1-2013, master to terminal: frames, data units, tables, curves, both roles, description."""
