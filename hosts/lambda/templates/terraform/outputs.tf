output "url" {
  description = "The database, as wit/http-api.md describes it."
  value       = aws_lambda_function_url.replica.function_url
}

output "function_name" {
  description = "For `dayfly keep`, as lambda:NAME@REGION=N."
  value       = aws_lambda_function.replica.function_name
}
