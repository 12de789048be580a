"""The pipeline: observe, decide, issue, render, commit."""
