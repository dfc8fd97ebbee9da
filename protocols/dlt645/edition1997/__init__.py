"""DL/T 645-1997: the frame of 2007, another table and other rules."""
