"""Takes notifications and files in, answers, and rings the worker. Litestar on Granian; stateless, any number of nodes."""
