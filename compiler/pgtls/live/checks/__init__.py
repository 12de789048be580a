"""What ``verify`` checks, one module for each part of a server. A check that differs tells the effect and the fix."""
