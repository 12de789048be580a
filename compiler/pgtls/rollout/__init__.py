"""The order in which what was compiled can be deployed."""
