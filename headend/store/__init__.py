"""All SQL. The store is the only meeting place of collector, jobs and API."""
