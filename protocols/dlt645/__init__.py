"""DL/T 645-2007, the multi-function meter protocol: frames, values, load records, both roles, description."""
