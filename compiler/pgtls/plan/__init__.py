"""Steps and costs, what is due, status and timeline."""
