"""REST for the CRM and for operators, under /api/v1."""
