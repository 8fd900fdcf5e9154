"""What every request passes and every answer is made of: middleware, problem details, pagination, parameters."""
