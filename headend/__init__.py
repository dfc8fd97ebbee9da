"""The program: configuration, store, control, collector, jobs, API, web console and command line."""

__version__ = "0.1.0"
