"""Pre-flight of an upload: what its debits are expected to bring and to cost, before the first one is submitted."""
