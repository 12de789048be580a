"""The Jinja2 templates of what pgtls writes, installed as pgtls.templates."""
