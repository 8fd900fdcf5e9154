"""Takes notifications and files in, answers, and wake-ups the worker. Litestar on Granian; stateless, any number of nodes."""
