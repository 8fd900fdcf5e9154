"""People and keys: who may do what, from which address, and how a person proves who they are."""
