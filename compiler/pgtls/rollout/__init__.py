"""The order in which compiled files can be deployed."""
