"""DL/T 645-1997: its own table, functions and frame rules. The frame's shape is that of 2007: protocols.dlt645.frame."""
