"""HTTP: middleware, API keys, problem details, pagination, parameters, multipart, file responses, OpenAPI."""
