"""The main job on a simulated fleet: real processes, real sockets, a real database, and a truth to check every number against."""
