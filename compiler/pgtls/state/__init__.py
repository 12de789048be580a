"""The out directory and the lock: reading, comparing, and one transaction that writes both."""
