"""An existing server's configuration becomes a spec that means the same: what ``pgtls import`` does."""
