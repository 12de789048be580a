"""What pgtls knows, in the formats of other programs: values in, text out. Nothing here reads or writes a file."""
