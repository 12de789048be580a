"""The language: the TOML file as typed tables, with its positions and its JSON Schema."""
