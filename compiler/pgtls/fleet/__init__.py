"""The spec with its names resolved and its rules checked: what the rest of the compiler speaks of."""
