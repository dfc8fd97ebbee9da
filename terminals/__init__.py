"""Wires and time: links, sessions, buses, drivers, the field diagnosis and the simulator."""
